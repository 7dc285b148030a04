//! The reader of OpenMetrics dumps meets files that are almost right.

use backstop::base::Labels;
use backstop::source::openmetrics_file::{Sink, read};

use crate::support::{Scratch, mutate};

/// Holds every promise that the reader makes to a sink.
#[derive(Default)]
struct Strict {
    last: std::collections::HashMap<Labels, i64>,
    samples: u64,
}

impl Sink for Strict {
    fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String> {
        assert!(!times.is_empty() && times.len() == values.len(), "as many values as times");
        assert!(!labels.name().is_empty() && labels.len() <= 65, "{labels}");
        let last = self.last.entry(labels.clone()).or_insert(i64::MIN);
        for time in times {
            assert!(time > last, "{labels}: {time} after {last}");
            *last = *time;
        }
        self.samples += times.len() as u64;
        Ok(())
    }
}

const DUMPS: [&str; 4] = [
    "# HELP a Some \\\\ text.\n# TYPE a counter\na_total{x=\"1\",y=\"q\\\"\\n\\\\\"} 1 1700000000\n\
     a_total{x=\"1\",y=\"q\\\"\\n\\\\\"} 2.5e3 1700000015.25 # {trace_id=\"t\"} 0.5 1700000015\n\
     a_created{x=\"1\"} 1.5e9 1700000000\n# EOF\n",
    "b 1 1\nb{} 2 2\nb {y=\"}\"} 3 3\nb NaN 4\nb +Inf 5\nb -Inf 6\nb 1 6\nb 1 5.5\n# EOF",
    "{\"my.name\",\"l.x\"=\"ü€\"} -0 -5\n{\"my.name\"} 1e-320 0.001\n\n# EOF\n",
    "# TYPE h histogram\n# UNIT h seconds\nh_bucket{le=\"0.1\"} 1 10\nh_bucket{le=\"+Inf\"} 2 10\nh_bucket{le=\"0.1\"} 1 20\n\
     h_bucket{le=\"+Inf\"} 2 20\nh_count 2 20\nh_sum 0.25 20\n# EOF\n",
];

#[test]
fn mutation_of_dumps() {
    let corpus: Vec<Vec<u8>> = DUMPS.iter().map(|text| text.as_bytes().to_vec()).collect();
    mutate::run("dumps", &corpus, |input| {
        let mut sink = Strict::default();
        let read = read(input, &mut sink, |_| {});
        if let Ok(summary) = read {
            assert_eq!(summary.samples, sink.samples, "what is said was given");
            assert_eq!(summary.series, sink.last.len(), "every series is counted");
            assert!(summary.samples + summary.refused <= summary.lines);
            let end = input.windows(5).any(|part| part == b"# EOF");
            assert!(end, "a dump without its end is not taken");
        }
    });
}

#[test]
fn every_dump_of_the_corpus_is_read() {
    for text in DUMPS {
        let mut sink = Strict::default();
        read(text.as_bytes(), &mut sink, |_| {}).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(sink.samples > 0);
    }
}

/// Calls the program; its exit code and everything it said.
fn backstop(state: &std::path::Path, words: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(words)
        .env_remove("BACKSTOP_CONFIG")
        .env("BACKSTOP_STATE", state)
        .current_dir(state)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_was_imported_is_found_without_an_agent() {
    let folder = Scratch::new("what_was_imported_is_found");
    let state = folder.path();
    let dump = |name: &str, text: &str| {
        std::fs::write(state.join(name), text).unwrap();
    };
    dump("good", "jobs{queue=\"mail\"} 7 1700000000\njobs{queue=\"mail\"} 7 1700000015\n# EOF\n");
    dump("cut", "other 1 1700000000\n");
    let (code, said) = backstop(state, &["query", "jobs", "--at", "1700000020"]);
    assert!(code == Some(3) && said.contains("no samples on disk"), "{code:?} {said}");
    let (code, said) = backstop(state, &["import", "cut"]);
    assert!(
        code == Some(2) && said.contains("`# EOF` is missing") && said.contains("nothing of it was taken in"),
        "{said}"
    );
    assert!(!state.join("samples").exists(), "a dump that is none leaves nothing behind");
    let (code, said) = backstop(state, &["import", "good"]);
    assert!(code == Some(0) && said.starts_with("1 series, 2 samples"), "{code:?} {said}");
    let (code, said) = backstop(state, &["query", "sum(jobs) + 1", "--at", "1700000020", "--format", "json"]);
    let wanted =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000020,"8"]}]}}"#;
    assert_eq!((code, said.trim()), (Some(0), wanted));
    let (code, said) = backstop(state, &["query", "nosuch(jobs)"]);
    assert!(code == Some(2) && said.contains("--> expression:1:1"), "{code:?} {said}");
}
