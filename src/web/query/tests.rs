//! Requests over a listener, with samples that stand still.

use super::*;
use crate::store::{Stretch, View};
use crate::sys::tasks::Tasks;
use crate::web::serve_tcp;

fn data() -> Fixed<View> {
    let stretch = |name: &str, job: &str, times: &[i64]| {
        let labels = Labels::new([("__name__", name), ("job", job)]);
        Stretch::new(labels, times.to_vec(), (0..times.len()).map(|i| i as f64).collect::<Vec<_>>())
    };
    let minutes: Vec<i64> = (0..10).map(|i| 1_700_000_000_000 + i * 60_000).collect();
    Fixed(Arc::new(View::new([
        stretch("up", "a", &minutes),
        stretch("up", "b", &minutes[..2]),
        stretch("load", "a\"b", &minutes),
    ])))
}

/// A server with those samples, and a client for it.
struct Server {
    address: String,
    client: reqwest::Client,
    tasks: Tasks,
}

impl Server {
    async fn start() -> Server {
        crate::sys::http::install_crypto_provider();
        let mut tasks = Tasks::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Api::new(data(), Arc::new(Clock::new())).router();
        tasks.spawn("web", serve_tcp(listener, router, tasks.stop_signal()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Server { address, client, tasks }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn post(&self, path: &str, form: &str) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.address)).body(form.to_string());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn stop(self) {
        self.tasks.stop(Span::secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_and_labels_are_found_by_selector_and_time() {
    let server = Server::start().await;
    let late = "start=1700000300&end=1700000400";
    for (path, data) in [
        ("/api/v1/labels".to_string(), r#"["__name__","job"]"#),
        ("/api/v1/label/job/values".into(), r#"["a","a\"b","b"]"#),
        ("/api/v1/label/__name__/values".into(), r#"["load","up"]"#),
        ("/api/v1/label/nothing/values".into(), "[]"),
        (format!("/api/v1/label/job/values?match[]=up&{late}"), r#"["a"]"#),
        (format!("/api/v1/series?match[]=up&{late}"), r#"[{"__name__":"up","job":"a"}]"#),
        (
            "/api/v1/series?match[]=up{job=\"b\"}&match[]={job=~\"a.%2B\"}".into(),
            r#"[{"__name__":"load","job":"a\"b"},{"__name__":"up","job":"b"}]"#,
        ),
        ("/api/v1/metadata".into(), "{}"),
        ("/api/v1/query_exemplars?query=up".into(), "[]"),
    ] {
        assert_eq!(server.get(&path).await, (200, format!(r#"{{"status":"success","data":{data}}}"#)), "{path}");
    }
    let (status, text) = server.get("/api/v1/label/job/values?limit=1").await;
    let wanted = r#"{"status":"success","data":["a"],"warnings":["results truncated due to limit"]}"#;
    assert_eq!((status, text.as_str()), (200, wanted));
    let posted = server.post("/api/v1/series", "match%5B%5D=load").await;
    assert_eq!(posted.1, r#"{"status":"success","data":[{"__name__":"load","job":"a\"b"}]}"#);
    assert_eq!(posted.0, 200);
    assert!(server.get("/api/v1/status/buildinfo").await.1.contains(r#""version":"3.0.0""#));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_an_answer_of_its_kind() {
    let server = Server::start().await;
    for (path, status, kind, part) in [
        ("/api/v1/query", 400, "bad_data", "the parameter \\\"query\\\" is missing"),
        ("/api/v1/query?query=up%20%2B", 400, "bad_data", "parse error"),
        ("/api/v1/query?query=up&time=soon", 400, "bad_data", "invalid parameter \\\"time\\\""),
        ("/api/v1/query?query=up&timeout=x", 400, "bad_data", "invalid parameter \\\"timeout\\\""),
        ("/api/v1/query?query=up&lookback_delta=-1", 400, "bad_data", "lookback_delta"),
        ("/api/v1/query_range?query=up&end=1&step=1", 400, "bad_data", "\\\"start\\\" is missing"),
        ("/api/v1/query_range?query=up&start=0&end=1", 400, "bad_data", "\\\"step\\\" is missing"),
        ("/api/v1/query_range?query=up&start=2&end=1&step=1", 400, "bad_data", "before the start"),
        ("/api/v1/query_range?query=up&start=0&end=1&step=0", 400, "bad_data", "longer than 0"),
        ("/api/v1/query_range?query=up&start=0&end=11000&step=1", 400, "bad_data", "11001 points a series"),
        ("/api/v1/series", 400, "bad_data", "match[]"),
        ("/api/v1/series?match[]=rate(up[5m])", 400, "bad_data", "parse error"),
        ("/api/v1/labels?start=5&end=1", 400, "bad_data", "before the start"),
    ] {
        let (got, text) = server.get(path).await;
        assert_eq!(got, status, "{path}: {text}");
        assert!(text.starts_with(&format!(r#"{{"status":"error","errorType":"{kind}","error":""#)), "{path}: {text}");
        assert!(text.contains(part), "{path}: {text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
    let long = format!("query={}", "x".repeat(70_000));
    let (status, text) = server.post("/api/v1/query", &long).await;
    assert_eq!((status, text.contains("longer than 64 KiB")), (400, true), "{text}");
    let (status, _) = server.get("/api/v1/nothing").await;
    assert_eq!(status, 404);
    server.stop().await;
}

/// Samples that never come.
#[derive(Clone)]
struct Silent;

impl Data for Silent {
    type Held = Arc<View>;

    async fn held(&self, _: Vec<Wanted>) -> Result<Arc<View>, String> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_given_up() {
    let router = Api::new(Silent, Arc::new(Clock::new()));
    let request = Request::builder().uri("/api/v1/query?query=up&timeout=10ms").body(Body::empty()).unwrap();
    let response = router.answered(request, String::new(), query).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    let wanted = r#"{"status":"error","errorType":"timeout","error":"the query took longer than 10ms"}"#;
    assert_eq!(body, wanted.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered_as_prometheus_answers_them() {
    let server = Server::start().await;
    let wrap = |kind: &str, result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    let at = "time=1700000090";
    for (form, kind, result) in [
        (
            format!("query=up%7Bjob%3D%22b%22%7D&{at}"),
            "vector",
            r#"[{"metric":{"__name__":"up","job":"b"},"value":[1700000090,"1"]}]"#,
        ),
        (format!("query=sum(up)+/+4&{at}"), "vector", r#"[{"metric":{},"value":[1700000090,"0.5"]}]"#),
        (format!("query=up&{at}&lookback_delta=10s"), "vector", "[]"),
        (format!("query=1%2F0&{at}.25"), "scalar", r#"[1700000090.250,"+Inf"]"#),
        (format!("query=%22x%22&{at}"), "string", r#"[1700000090,"x"]"#),
        (
            format!("query=up%7Bjob%3D%22b%22%7D%5B2m%5D&{at}"),
            "matrix",
            r#"[{"metric":{"__name__":"up","job":"b"},"values":[[1700000000,"0"],[1700000060,"1"]]}]"#,
        ),
    ] {
        assert_eq!(server.post("/api/v1/query", &form).await, (200, wrap(kind, result)), "{form}");
    }
    let range = "query=sum(up)&start=1700000000&end=1700000060&step=30s";
    let rows = r#"[{"metric":{},"values":[[1700000000,"0"],[1700000030,"0"],[1700000060,"2"]]}]"#;
    assert_eq!(server.get(&format!("/api/v1/query_range?{range}")).await, (200, wrap("matrix", rows)));
    for (path, status, kind) in [
        ("/api/v1/query_range?query=up[5m]&start=0&end=1&step=1", 400, "bad_data"),
        ("/api/v1/query_range?query=%22x%22&start=0&end=1&step=1", 400, "bad_data"),
        ("/api/v1/query?query=up+*+on(nothing)+load&time=1700000090", 422, "execution"),
    ] {
        let (got, text) = server.get(path).await;
        assert!(got == status && text.contains(kind), "{path}: {got} {text}");
    }
    let (_, text) = server.get("/api/v1/query?query=quantile(2,up)&limit=1&time=1700000090").await;
    assert!(text.contains(r#""warnings":["PromQL warning: quantile value"#), "{text}");
    let (_, text) = server.get("/api/v1/query?query=up&limit=1&time=1700000090").await;
    assert!(text.ends_with(r#""warnings":["results truncated due to limit"]}"#), "{text}");
    server.stop().await;
}
