//! Which containers are meant.

use std::fmt;

use crate::base::wildcard::fits;
use crate::sys::engine::Container;
use crate::sys::engine::told::MAX_NAME;

/// Some containers: those of a service of compose, or one by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every container of the services whose project and name fit these patterns.
    Service(String, String),
    /// The container of this name.
    Name(String),
}

impl Selection {
    /// Reads `project/service`, in which `*` stands for any characters, or the name of a container.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Selection, &'static str> {
        if text.len() > 2 * MAX_NAME || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("a name of a container has no spaces, and at most 128 characters");
        }
        match text.split_once('/') {
            Some((_, service)) if service.contains('/') => Err("a service of compose is written project/service"),
            Some((project, service)) if project.is_empty() || service.is_empty() => {
                Err("a service of compose is written project/service, and `*` stands for any of them")
            }
            Some((project, service)) => Ok(Selection::Service(project.into(), service.into())),
            None if text.is_empty() => Err("the name of a container is empty"),
            None if text.contains('*') => Err("`*` stands in project/service only: \"*/api\", \"shop/*\""),
            None => Ok(Selection::Name(text.into())),
        }
    }

    /// Whether it means this container.
    pub fn means(&self, container: &Container) -> bool {
        match (self, &container.service) {
            (Selection::Name(name), _) => *name == container.name,
            (Selection::Service(project, service), Some((its_project, its_service))) => {
                fits(project.as_bytes(), its_project.as_bytes()) && fits(service.as_bytes(), its_service.as_bytes())
            }
            (Selection::Service(..), None) => false,
        }
    }
}

/// As it is written.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Service(project, service) => write!(f, "{project}/{service}"),
            Selection::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::engine::Id;

    #[test]
    fn a_selection_means_services_by_pattern_and_containers_by_name() {
        let container = |name: &str, service: Option<(&str, &str)>| Container {
            name: name.into(),
            service: service.map(|(project, service)| (project.into(), service.into())),
            ..Container::unseen(Id::try_from("0123456789ab".to_string()).unwrap())
        };
        let api = container("shop_api_1", Some(("shop", "api")));
        let plain = container("redis", None);
        for (text, means_api, means_plain) in [
            ("shop/api", true, false),
            ("shop/*", true, false),
            ("*/api", true, false),
            ("*/*", true, false),
            ("s*p/a*", true, false),
            ("shop/ap", false, false),
            ("other/api", false, false),
            ("redis", false, true),
            ("shop_api_1", true, false),
        ] {
            let selection = Selection::parse(text).unwrap();
            assert_eq!((selection.means(&api), selection.means(&plain)), (means_api, means_plain), "{text}");
            assert_eq!(selection.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_container_is_said() {
        for text in ["", "/", "shop/", "/api", "a/b/c", "api*", "a b", "a\nb", &"x".repeat(300)] {
            assert!(Selection::parse(text).is_err(), "{text}");
        }
    }
}
