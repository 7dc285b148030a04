//! The demo's configuration: a real, commented `backstop.toml` that stays in the folder.

use std::path::Path;

/// The file for a shop on `port`, with everything in `folder`.
pub fn text(folder: &Path, program: &Path, port: u16) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    TEMPLATE
        .replace("@PORT@", &port.to_string())
        .replace("@PROGRAM@", &quoted(program))
        .replace("@FOLDER@", &quoted(folder))
        .replace("@ALERTS@", &quoted(&folder.join("alerts.jsonl")))
}

const TEMPLATE: &str = r#"# What the demo watches. Everything is as it would be for a real service, only faster:
# a real one has `interval = "15s"`, windows of minutes, and a watch of 48 hours.

[app]
name     = "shop"
interval = "500ms"
timeout  = "400ms"
version  = { http = "http://127.0.0.1:@PORT@/health", json = "version" }   # proves a rollback

[web]
listen = "127.0.0.1:0"                  # any free port

# What is looked at.

[http.api]
url    = "http://127.0.0.1:@PORT@/health"
expect = ['status == 200', 'json status == "ok"']

[prometheus.api]
url = "http://127.0.0.1:@PORT@/metrics"

# How it is judged.

[rule.errors]                           # the share of failed requests, judged so that a few cannot fire it
errors   = 'http_requests_total{code=~"5.."}'
total    = 'http_requests_total'
window   = "3s"
warning  = { when = "> 5%", for = "500ms" }
critical = { when = "> 10%", for = "1s" }
rollback = { when = "critical", for = "3s" }
keep     = "1s"

[rule.target-down]                      # the rule that is always there, with shorter times
critical = { when = "== 0", for = "2s" }
rollback = { when = "critical", for = "3s" }
keep     = "1s"

# Who hears of it.

[channel.log.alerts]
file = @ALERTS@

# How long the new version is watched, and the way back.

[watch]
settle  = "10s"
verdict = "20s"

[rollback]
mode   = "auto"                         # the default is "observe": it only says what it would do
notice = "0s"

[[rollback.step]]
name    = "previous version"
command = [@PROGRAM@, "demo-switch", "--folder", @FOLDER@, "{previous}"]
timeout = "10s"

[rollback.verify]
within     = "20s"
probes     = ["http.api"]
stable_for = "5s"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_toml_whatever_the_folder_is_called() {
        let text = text(Path::new("/tmp/a \"b\" \\ c"), Path::new("/usr/bin/backstop"), 4711);
        let read: toml::Table = text.parse().unwrap();
        let step = &read["rollback"]["step"][0]["command"];
        assert_eq!(step[3].as_str(), Some("/tmp/a \"b\" \\ c"));
        assert_eq!(step[4].as_str(), Some("{previous}"));
        assert!(!text.contains('@'), "every place is filled");
    }
}
