//! Mutation tests: a reader of foreign bytes meets many inputs that are almost right.
//!
//! Deterministic and on stable: a seed, a corpus, a fixed number of inputs. `tests/mutate --inputs N` runs more of them. What
//! fails is printed and put into the corpus, so it is tried first from then on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// How many inputs a test tries by default.
pub const INPUTS: usize = 20_000;

/// Tries `check` on every input of the corpus and on mutations of them. `corpus` adds to what stands in
/// `tests/corpus/NAME/`. `check` panics when the reader does something that it must not.
pub fn run(name: &str, corpus: &[Vec<u8>], check: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut seeds = corpus.to_vec();
    if let Ok(files) = std::fs::read_dir(&folder) {
        let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        seeds.extend(paths.iter().map(|path| std::fs::read(path).expect("the corpus can be read")));
    }
    assert!(!seeds.is_empty(), "a mutation test needs something to start from");
    let inputs = std::env::var("BACKSTOP_INPUTS").map_or(INPUTS, |n| n.parse().expect("BACKSTOP_INPUTS is a number"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for i in 0..inputs.max(seeds.len()) {
        let input = seeds.get(i).cloned().unwrap_or_else(|| mutated(&seeds, &mut random));
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            let hash =
                input.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
            std::fs::create_dir_all(&folder).expect("the corpus folder can be made");
            let path = folder.join(format!("{hash:016x}"));
            std::fs::write(&path, &input).expect("the corpus can be written");
            panic!("input {i} of {name} fails: {} (kept as {})", input.escape_ascii(), path.display());
        }
    }
}

/// A generator of random numbers (xorshift64*), the same on every machine.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() >> 11) as usize % bound }
    }
}

const EDGES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n', b'{', b'}', b'(', b')'];

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let (at, to) = (random.below(input.len() + 1), random.below(input.len() + 1));
        let (from, end) = (at.min(to), at.max(to));
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = EDGES[random.below(EDGES.len())],
            2 => input.insert(at, random.next() as u8),
            3 => drop(input.drain(from..end.min(from + 16))),
            4 => input.truncate(at),
            5 if input.len() < 1 << 16 => {
                let part = input[from..end].to_vec();
                input.splice(at..at, part);
            }
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let cut = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[cut..]);
            }
            _ => {
                let edge = EDGES[random.below(EDGES.len())];
                input.insert(at, edge);
            }
        }
    }
    input
}
