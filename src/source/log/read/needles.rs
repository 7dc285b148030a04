//! Short texts of which every line that matches has one: a search for them passes over all other lines.
//!
//! An expression with fixed beginnings is found by a few bytes of each. Which ones is free, and matters more than anything
//! else for the speed: `"lev` is in every line of JSON, `"err` is not. So those are taken that are rare in what most programs
//! write. A bad choice costs time, and changes no result.

use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::Extractor;

/// How long they are, in bytes: as much as is compared in one step. Shorter ones are found too often.
const LONGEST: usize = 4;
const SHORTEST: usize = 3;

/// How many can be searched for in one pass.
const MAX_NEEDLES: usize = 64;

/// Into how many groups the search sorts up to [`MAX_OF_FEW`] of them, and more.
const FEW_BUCKETS: usize = 8;
const MANY_BUCKETS: usize = 16;
const MAX_OF_FEW: usize = 32;

/// How often an exchange is tried, and the cost below which none has to be.
const N_EXCHANGES: usize = 600;
const CHEAP: f64 = 0.5;

/// What one more costs, as a share of a line.
const EACH: f64 = 0.002;

/// Lines as they are everywhere, of which a needle is to have no part.
const USUAL: &str = concat!(
    r#"{"time":"2025-03-12T10:00:00.000Z","level":"info","severity":"INFO","logger":"main","msg":"request completed","#,
    r#""message":"connection accepted","timestamp":"2025", "level": "debug", "request_id":"5f3a9c017be24d68","#,
    r#""duration_ms":128,"status":200,"method":"GET","path":"/users/42","host":"web-1","pid":4711,"name":"api"}"#,
    r#"10.0.3.12 - - [12/Mar/2025:10:00:00 +0000] "GET /index.html HTTP/1.1" 200 612 "https://www.example.com/" "#,
    r#""Mozilla/5.0 (X11; Linux x86_64; rv:120.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36" "#,
    r#""POST /api/v1/users/profile?page=2&sort=name&q=blue+shoes HTTP/2.0" 404 1984 "-" 0.036 "GET /static/app.7d1e5.js "#,
    "2025-03-12 10:00:00,789 INFO [main.worker:61] started DEBUG (pool-3) WARNING processing task connection from user ",
    "level=info msg=\"handled\" time=2025 checked out of cache for key user:593 in 48 ms, done with status and service ",
    "process 260 order succeeded after retry, fetched 17 rows, size 35, scheduled job finished, listening on port 8080 ",
);

/// Needles for lines that one of `all` matches; none where one of them has no fixed beginning, or all have too many.
pub(super) fn of(all: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for hir in all {
        needles.extend(of_one(hir)?);
    }
    needles.sort();
    needles.dedup();
    (1..=MAX_NEEDLES).contains(&needles.len()).then(|| arranged(needles))
}

/// The order in which they are found fastest.
///
/// The search sorts them into [`FEW_BUCKETS`] or [`MANY_BUCKETS`] by their place, one after the other, and looks at any text of
/// which each byte has its halves in some needle of one bucket. What shares a bucket thus matters by a factor of two. Needles
/// are exchanged as long as it helps.
fn arranged(sorted: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let n = sorted.len();
    let n_buckets = if n > MAX_OF_FEW { MANY_BUCKETS } else { FEW_BUCKETS };
    // Those that begin alike begin in one bucket.
    let places = (0..n_buckets).flat_map(|bucket| (bucket..n).step_by(n_buckets));
    let mut placed: Vec<(usize, Vec<u8>)> = places.zip(sorted).collect();
    placed.sort();
    let mut needles: Vec<Vec<u8>> = placed.into_iter().map(|(_, needle)| needle).collect();
    let length = needles.iter().map(Vec::len).min().unwrap_or(0).min(LONGEST);
    let cost_of = |needles: &[Vec<u8>], bucket: usize| Masks::of(needles, bucket, n_buckets, length).cost(length);
    let mut costs: Vec<f64> = (0..n_buckets).map(|bucket| cost_of(&needles, bucket)).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..N_EXCHANGES {
        if n <= n_buckets || costs.iter().sum::<f64>() < CHEAP {
            break;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (a, b) = ((random >> 8) as usize % n, (random >> 36) as usize % n);
        let (one, other) = (a % n_buckets, b % n_buckets);
        if one == other {
            continue;
        }
        needles.swap(a, b);
        let new = (cost_of(&needles, one), cost_of(&needles, other));
        if new.0 + new.1 < costs[one] + costs[other] {
            (costs[one], costs[other]) = new;
        } else {
            needles.swap(a, b);
        }
    }
    needles
}

/// The halves of bytes that the needles of a bucket have at each place, as bits.
struct Masks([(u16, u16); LONGEST]);

impl Masks {
    fn of(needles: &[Vec<u8>], bucket: usize, n_buckets: usize, length: usize) -> Masks {
        let mut masks = [(0, 0); LONGEST];
        for needle in needles.iter().skip(bucket).step_by(n_buckets) {
            for (mask, b) in masks.iter_mut().zip(&needle[..length]) {
                mask.0 |= 1 << (b & 15);
                mask.1 |= 1 << (b >> 4);
            }
        }
        Masks(masks)
    }

    /// How often something is looked at in usual lines, and a little for what could be.
    fn cost(&self, length: usize) -> f64 {
        let masks = &self.0[..length];
        let is_in = |mask: &(u16, u16), b: u8| mask.0 >> (b & 15) & 1 != 0 && mask.1 >> (b >> 4) & 1 != 0;
        let n =
            USUAL.as_bytes().windows(length).filter(|text| masks.iter().zip(*text).all(|(mask, b)| is_in(mask, *b)));
        let open = masks.iter().map(|mask| f64::from(mask.0.count_ones() * mask.1.count_ones()) / 256.0);
        n.count() as f64 + open.product::<f64>() * 1000.0
    }
}

fn of_one(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let sequence = Extractor::new().extract(hir);
    let texts: Vec<&[u8]> = sequence.literals()?.iter().map(|literal| literal.as_bytes()).collect();
    let Some(shortest) = texts.iter().map(|text| text.len()).min() else { return Some(Vec::new()) };
    if shortest < SHORTEST {
        return None;
    }
    let length = shortest.min(LONGEST);
    // Each at its rarest part, or all at the same, which makes fewer of them.
    let rarest = texts.iter().filter_map(|text| text.windows(length).min_by(|a, b| rate(a).total_cmp(&rate(b))));
    let mut best = distinct(rarest);
    for at in 0..=shortest - length {
        let other = distinct(texts.iter().map(|text| &text[at..at + length]));
        if cost(&other) < cost(&best) {
            best = other;
        }
    }
    Some(best)
}

fn distinct<'t>(parts: impl Iterator<Item = &'t [u8]>) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.sort();
    parts.dedup();
    parts
}

fn cost(needles: &[Vec<u8>]) -> f64 {
    needles.iter().map(|needle| rate(needle) + EACH).sum()
}

/// How many lines have `needle`, roughly: a share of them.
fn rate(needle: &[u8]) -> f64 {
    if memchr::memmem::find(USUAL.as_bytes(), needle).is_some() {
        return 1.0;
    }
    // Of a hundred bytes, how many are this one.
    let share = |b: &u8| match b {
        b' ' => 0.1,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b'0'..=b'9' => 0.05,
        b'a'..=b'z' | b'"' => 0.02,
        b'A'..=b'Z' | 0x21..=0x7e => 0.01,
        _ => 0.001,
    };
    needle.iter().map(share).product::<f64>() * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(expressions: &[&str]) -> Option<Vec<String>> {
        let hirs: Vec<Hir> = expressions
            .iter()
            .map(|text| regex_syntax::ParserBuilder::new().utf8(false).unicode(false).build().parse(text).unwrap())
            .collect();
        Some(of(&hirs)?.iter().map(|needle| needle.escape_ascii().to_string()).collect())
    }

    #[test]
    fn needles_are_rare_parts_of_what_has_to_be_there() {
        for (expression, wanted) in [
            ("oom-kill", "oom-|om-k|m-ki|-kil"),
            ("x[a-z]", ""),
            ("a*bcd", ""),
            (r"\bFATAL\b", "FATA|ATAL"),
            (r#""level":"(error|fatal)""#, "no \"lev"),
        ] {
            let found = needles(&[expression]);
            match (found, wanted) {
                (None, wanted) => assert_eq!(wanted, "", "{expression}"),
                (Some(found), "no \"lev") => {
                    assert!(found.iter().all(|needle| !USUAL.contains(needle)), "{found:?}");
                }
                (Some(found), wanted) => assert!(found.iter().all(|one| wanted.contains(one)), "{found:?}"),
            }
        }
    }

    #[test]
    fn where_one_has_no_needle_or_all_have_too_many_there_are_none() {
        assert_eq!(needles(&["connection refused", "[0-9]+ ms"]), None);
        let many: Vec<String> = (0..100).map(|n| format!("q{n:03}w")).collect();
        assert_eq!(needles(&many.iter().map(String::as_str).collect::<Vec<_>>()), None);
        assert_eq!(needles(&[]), None);
    }
}
