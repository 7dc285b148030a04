//! The agent's own metrics in Prometheus's text format, from a [`Snapshot`].
//!
//! Families: `backstop_build_info`, `backstop_rule_level`, `backstop_rule_no_data`, `backstop_target_up`,
//! `backstop_delivery_*`, `backstop_deployment_info`, and every counter of the snapshot under its own name.

use std::fmt::Write;

use crate::engine::snapshot::{DeliveryState, Snapshot};

/// The page.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    let at = snapshot.at.seconds();
    page.family("backstop_build_info", "gauge", "The version of the agent.");
    page.sample("backstop_build_info", &[("version", &snapshot.agent_version), ("app", &snapshot.app)], 1.0);
    page.family("backstop_start_time_seconds", "gauge", "When the agent started.");
    page.sample("backstop_start_time_seconds", &[], snapshot.started.seconds());
    page.family("backstop_degraded", "gauge", "1 while the disk is not to be trusted.");
    page.sample("backstop_degraded", &[], flag(snapshot.degraded.is_some()));
    page.family("backstop_config_refused", "gauge", "1 while the configuration on disk is not the running one.");
    page.sample("backstop_config_refused", &[], flag(snapshot.config_refused.is_some()));
    page.family("backstop_rule_level", "gauge", "The highest level of the rule's alerts: 0 ok, 1 warning, 2 critical.");
    for rule in &snapshot.rules {
        page.sample("backstop_rule_level", &[("rule", &rule.name)], f64::from(rule.level.number()));
    }
    page.family("backstop_rule_no_data", "gauge", "1 while the rule cannot see what it judges.");
    for rule in &snapshot.rules {
        page.sample("backstop_rule_no_data", &[("rule", &rule.name)], flag(rule.no_data.is_some()));
    }
    page.family("backstop_samples_not_kept", "gauge", "1 while samples are not kept on disk.");
    page.sample("backstop_samples_not_kept", &[], flag(snapshot.not_kept.is_some()));
    page.family("backstop_source_series", "gauge", "Series of the source in the store.");
    for usage in &snapshot.usage {
        page.sample("backstop_source_series", &[("source", &usage.source)], usage.series as f64);
    }
    let name = "backstop_source_samples_refused_total";
    page.family(name, "counter", "Samples of the source that the store left out.");
    for usage in &snapshot.usage {
        page.sample(name, &[("source", &usage.source)], usage.refused as f64);
    }
    page.family("backstop_target_up", "gauge", "1 when the last look at the target succeeded.");
    for target in &snapshot.targets {
        let labels = [("source", target.source.as_str()), ("instance", target.instance.as_str())];
        page.sample("backstop_target_up", &labels, flag(target.good));
    }
    deliveries(&mut page, snapshot, at);
    if let Some(deployment) = &snapshot.deployment {
        page.family("backstop_deployment_info", "gauge", "The newest deployment.");
        let previous = deployment.previous.as_deref().unwrap_or("");
        page.sample("backstop_deployment_info", &[("version", &deployment.version), ("previous", previous)], 1.0);
    }
    for (name, value) in &snapshot.counters {
        if is_name(name) && !page.knows(name) {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            page.family(name, kind, "Of the agent itself.");
            page.sample(name, &[], *value);
        }
    }
    page.text
}

fn deliveries(page: &mut Page, snapshot: &Snapshot, at: f64) {
    page.family("backstop_delivery_waiting", "gauge", "Messages that wait for their channel.");
    for channel in &snapshot.channels {
        page.sample("backstop_delivery_waiting", &[("channel", &channel.name)], channel.waiting as f64);
    }
    page.family("backstop_delivery_oldest_seconds", "gauge", "How long the oldest message of the channel waits.");
    for channel in &snapshot.channels {
        let waits = channel.oldest.map_or(0.0, |since| (at - since.seconds()).max(0.0));
        page.sample("backstop_delivery_oldest_seconds", &[("channel", &channel.name)], waits);
    }
    let name = "backstop_delivery_last_accepted_timestamp_seconds";
    page.family(name, "gauge", "When the channel last accepted a message.");
    for channel in &snapshot.channels {
        if let Some(accepted) = channel.last_accepted {
            page.sample(name, &[("channel", &channel.name)], accepted.seconds());
        }
    }
    page.family("backstop_delivery_gave_up", "gauge", "Of the channel's last deliveries, those given up.");
    for channel in &snapshot.channels {
        let lost = channel.recent.iter().filter(|d| matches!(d.state, DeliveryState::GaveUp { .. })).count();
        page.sample("backstop_delivery_gave_up", &[("channel", &channel.name)], lost as f64);
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.put(format_args!("{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' }));
        }
        self.text.push_str(if labels.is_empty() { "" } else { "}" });
        self.put(format_args!(" {value}\n"));
    }

    fn knows(&self, name: &str) -> bool {
        self.text.contains(&format!("# TYPE {name} "))
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes every text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn the_page_is_read_back_by_a_foreign_parser() {
        let mut snapshot = samples::in_trouble();
        snapshot.targets[0].instance = "a \"quoted\" \\ name\nof two lines".into();
        snapshot.counters.insert("backstop_steps_total".into(), 41.0);
        snapshot.counters.insert("backstop_rule_level".into(), 7.0);
        snapshot.counters.insert("not a name".into(), 7.0);
        let page = render(&snapshot);
        let read = prometheus_parse::Scrape::parse(page.lines().map(|l| Ok(l.to_string()))).unwrap();
        let value = |name: &str, label: &str, is: &str| {
            read.samples.iter().find(|s| s.metric == name && s.labels.get(label).unwrap_or("") == is).map(|s| &s.value)
        };
        use prometheus_parse::Value::{Counter, Gauge};
        assert_eq!(value("backstop_rule_level", "rule", "errors"), Some(&Gauge(2.0)));
        assert_eq!(value("backstop_rule_level", "rule", ""), None, "a counter cannot shadow a family");
        assert_eq!(value("backstop_rule_no_data", "rule", "queue-depth"), Some(&Gauge(1.0)));
        assert_eq!(value("backstop_target_up", "source", "http.worker"), Some(&Gauge(0.0)));
        assert_eq!(value("backstop_steps_total", "rule", ""), Some(&Counter(41.0)));
        assert!(!page.contains("not a name"));
    }
}
