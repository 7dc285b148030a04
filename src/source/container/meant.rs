//! Which containers a table means, which target each belongs to, and under which name its series go on.

use std::collections::BTreeSet;

use crate::sys::engine::Container;

/// How many digits of an id compose puts before a name while it makes a container anew.
const PREFIX: usize = 12;

/// Containers of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Those of a project of compose: of these services, or of all where none is named.
    Project {
        /// The project.
        project: String,
        /// Its services that must be there.
        services: BTreeSet<String>,
    },
    /// Those of these names, each of which must be there.
    Names(BTreeSet<String>),
}

/// A target, and the place of a container in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The `instance` of the target.
    pub instance: String,
    /// The name that the container has for as long as its service exists.
    pub name: String,
}

impl Meant {
    /// Where a container belongs; nothing where it is not meant, or was made for one command only.
    pub fn place(&self, container: &Container) -> Option<Place> {
        match self {
            Meant::Names(names) => {
                let name = names.get(&container.name)?;
                Some(Place { instance: name.clone(), name: name.clone() })
            }
            Meant::Project { project, services } => {
                let (its_project, service) = container.service.as_ref()?;
                let is_meant = its_project == project && (services.is_empty() || services.contains(service));
                if !is_meant || container.is_one_off || service.is_empty() {
                    return None;
                }
                let name = lasting(&container.name).to_string();
                Some(Place { instance: instance(project, service), name })
            }
        }
    }

    /// The targets that are there from the start: those that are declared.
    pub fn declared(&self) -> Vec<String> {
        match self {
            Meant::Names(names) => names.iter().cloned().collect(),
            Meant::Project { project, services } => services.iter().map(|service| instance(project, service)).collect(),
        }
    }

    /// Whether each target must have a container.
    pub fn is_declared(&self) -> bool {
        match self {
            Meant::Names(_) => true,
            Meant::Project { services, .. } => !services.is_empty(),
        }
    }

    /// The project, where it is one.
    pub fn project(&self) -> Option<&str> {
        match self {
            Meant::Names(_) => None,
            Meant::Project { project, .. } => Some(project),
        }
    }
}

fn instance(project: &str, service: &str) -> String {
    format!("{project}/{service}")
}

/// The name without what compose puts before it while two containers want it: `3f2a91c07d21_shop_web_1`.
fn lasting(name: &str) -> &str {
    match name.split_at_checked(PREFIX) {
        Some((prefix, rest)) if prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            rest.strip_prefix('_').filter(|rest| !rest.is_empty()).unwrap_or(name)
        }
        _ => name,
    }
}

/// What a container says of its version: what its image says, else the tag that it was named with, unless that names no
/// version, else the beginning of the id of its image.
pub fn version(label: Option<&str>, image: &str, image_id: &str) -> String {
    if let Some(label) = label.filter(|label| !label.trim().is_empty()) {
        return label.to_string();
    }
    let named = image.split('@').next().unwrap_or_default();
    let tag = named.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match tag.filter(|tag| !tag.is_empty() && *tag != "latest" && !named.starts_with("sha256:")) {
        Some(tag) => tag.to_string(),
        None => image_id.trim_start_matches("sha256:").chars().take(PREFIX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::engine::Id;

    #[test]
    fn a_container_belongs_to_its_service_or_to_its_name() {
        let shop = |services: &[&str]| Meant::Project {
            project: "shop".into(),
            services: services.iter().map(ToString::to_string).collect(),
        };
        let names = |names: &[&str]| Meant::Names(names.iter().map(ToString::to_string).collect());
        let place = |instance: &str, name: &str| Some(Place { instance: instance.into(), name: name.into() });
        let id = Id::try_from("0123456789ab".to_string()).unwrap();
        for (meant, name, service, is_one_off, wanted) in [
            (shop(&[]), "shop_web_1", Some(("shop", "web")), false, place("shop/web", "shop_web_1")),
            (shop(&[]), "shop_web_1", Some(("shop", "web")), true, None),
            (shop(&[]), "shop_web_1", Some(("other", "web")), false, None),
            (shop(&[]), "shop_web_1", Some(("shop", "")), false, None),
            (shop(&[]), "shop_web_1", None, false, None),
            (shop(&["web"]), "shop_web_1", Some(("shop", "web")), false, place("shop/web", "shop_web_1")),
            (shop(&["api"]), "shop_web_1", Some(("shop", "web")), false, None),
            (shop(&[]), "3f2a91c07d21_shop-web-1", Some(("shop", "web")), false, place("shop/web", "shop-web-1")),
            (shop(&[]), "3f2a91c07d21_", Some(("shop", "web")), false, place("shop/web", "3f2a91c07d21_")),
            (shop(&[]), "3f2a91c07d2g_x", Some(("shop", "web")), false, place("shop/web", "3f2a91c07d2g_x")),
            (shop(&[]), "aaaaaaaaaaaé_x", Some(("shop", "web")), false, place("shop/web", "aaaaaaaaaaaé_x")),
            (names(&["redis"]), "redis", None, false, place("redis", "redis")),
            (names(&["redis"]), "redis", Some(("shop", "web")), true, place("redis", "redis")),
            (names(&["redis"]), "redis2", None, false, None),
        ] {
            let service = service.map(|(project, service): (&str, &str)| (project.to_string(), service.to_string()));
            let container = Container { name: name.into(), service, is_one_off, ..Container::unseen(id.clone()) };
            assert_eq!(meant.place(&container), wanted, "{meant:?} {container:?}");
        }
    }

    #[test]
    fn a_version_is_what_the_image_says_or_how_it_is_tagged() {
        const ID: &str = "sha256:3f2a91c07d21ffff";
        for (label, image, wanted) in [
            (Some("2.4.1"), "shop/web:9", "2.4.1"),
            (Some(" "), "shop/web:9", "9"),
            (None, "shop/web:2.4.1", "2.4.1"),
            (None, "registry:5000/shop/web:2.4.1", "2.4.1"),
            (None, "registry:5000/shop/web", "3f2a91c07d21"),
            (None, "shop/web:latest", "3f2a91c07d21"),
            (None, "shop/web", "3f2a91c07d21"),
            (None, "shop/web:2.4@sha256:00112233", "2.4"),
            (None, "shop/web@sha256:00112233", "3f2a91c07d21"),
            (None, "sha256:00112233", "3f2a91c07d21"),
            (None, "", "3f2a91c07d21"),
        ] {
            assert_eq!(version(label, image, ID), wanted, "{label:?} {image}");
        }
    }
}
