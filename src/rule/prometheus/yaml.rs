//! YAML to the tree that the reader of tables takes, each value with its place.
//!
//! Every scalar becomes its text: in these formats a number may stand for a text (`version: 1.0` is a label `1.0`), so what
//! it is decides the one who reads it. What is left out (null) is an empty text.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Spanned};

use crate::base::table::{Entry, Node, Table, Value};
use crate::base::{Place, Problems};

/// The longest file, in bytes.
pub const MAX_FILE: usize = 4 << 20;

/// The most values in a file, those that aliases repeat included.
const MAX_NODES: usize = 500_000;

/// How deep values may stand in each other.
const MAX_DEPTH: usize = 32;

/// Reads one document. `file` is its number in the places; what is no YAML is a problem.
pub fn parse(text: &str, file: usize, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_FILE {
        problems.error(&Place { file, range: 0..0 }, format!("longer than {MAX_FILE} bytes"), "");
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_events: 4 * MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options) {
        Ok(tree) => {
            let place = place(&tree, file, text);
            Some(node(tree.value, place, file, text))
        }
        Err(error) => {
            let at = error.location().map_or(0..0, |location| range(&location, text));
            // The place is shown by us.
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            let said = said.split(" at line ").next().unwrap_or(said);
            problems.error(&Place { file, range: at }, format!("this is no YAML: {said}"), "from here on");
            None
        }
    }
}

/// Opens a table; nothing at all is an empty one.
pub fn open<'a>(node: &'a Node, what: &'a str, problems: &mut Problems) -> Option<Table<'a>> {
    static NOTHING: Value = Value::Table(Vec::new());
    if text(node).is_empty() && matches!(node.value, Value::Text(_)) {
        static EMPTY: std::sync::OnceLock<Node> = std::sync::OnceLock::new();
        let empty = EMPTY.get_or_init(|| Node { value: NOTHING.clone(), place: Place::default() });
        return Table::open(empty, what, problems);
    }
    Table::open(node, what, problems)
}

/// The values of a list; nothing at all is an empty one.
pub fn list<'a>(node: Option<&'a Node>, what: &str, problems: &mut Problems) -> &'a [Node] {
    match node {
        Some(Node { value: Value::List(nodes), .. }) => nodes,
        Some(node) if node.value != Value::Text(String::new()) => {
            problems.error(&node.place, format!("{what} is a list"), format!("this is {}", node.kind()));
            &[]
        }
        _ => &[],
    }
}

/// The text of a scalar; nothing for a list or a table.
pub fn text(node: &Node) -> &str {
    match &node.value {
        Value::Text(text) => text,
        _ => "",
    }
}

/// What stands in the file, before it has places.
#[derive(Debug)]
enum Tree {
    Null,
    /// A scalar that is no text to YAML: as written, it stands at its place.
    Written,
    Text(String),
    List(Vec<Spanned<Tree>>),
    Table(Vec<(Spanned<String>, Spanned<Tree>)>),
}

fn node(tree: Tree, place: Place, file: usize, text: &str) -> Node {
    let child = |tree: Spanned<Tree>| {
        let place = self::place(&tree, file, text);
        node(tree.value, place, file, text)
    };
    let value = match tree {
        Tree::Null => Value::Text(String::new()),
        Tree::Text(text) => Value::Text(text),
        Tree::Written => Value::Text(text.get(place.range.clone()).unwrap_or_default().trim().to_string()),
        Tree::List(list) => Value::List(list.into_iter().map(child).collect()),
        Tree::Table(entries) => Value::Table(
            entries
                .into_iter()
                .map(|(key, tree)| Entry { place: self::place(&key, file, text), key: key.value, node: child(tree) })
                .collect(),
        ),
    };
    Node { value, place }
}

fn place<T>(spanned: &Spanned<T>, file: usize, text: &str) -> Place {
    Place { file, range: range(&spanned.defined, text) }
}

/// The bytes of a location, at most to the end of its text, on borders of characters.
fn range(location: &Location, text: &str) -> std::ops::Range<usize> {
    let span = location.span();
    let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = border(number(span.byte_offset()).unwrap_or(0));
    let end = border(start.saturating_add(number(span.byte_len()).unwrap_or(0)));
    if start > 0 && end <= start {
        // A list or a table is known by its beginning: its first line is shown.
        return start..text[start..].find('\n').map_or(text.len(), |n| start + n);
    }
    start..end.max(start)
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Written)
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_string()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = list.next_element()? {
            all.push(item);
        }
        Ok(Tree::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = table.next_entry()? {
            all.push(entry);
        }
        Ok(Tree::Table(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::default();
        let node = parse(text, 0, &mut problems);
        (node, problems.list.into_iter().map(|p| format!("{} at {:?}", p.title, p.place.range)).collect())
    }

    #[test]
    fn scalars_are_their_text_and_stand_at_their_place() {
        let text = "a: 1.0\nb: [yes, 'x y', \"\\u00e9\", 0x1F, ~]\nc: {d: |\n  two\n  lines\n}\n";
        let text = &text.replace("c: {d: |\n  two\n  lines\n}", "c:\n  d: |\n    two\n    lines");
        let (node, problems) = parsed(text);
        assert_eq!(problems, Vec::<String>::new());
        let Value::Table(entries) = node.unwrap().value else { panic!("a table") };
        assert_eq!(entries[0].node.value, Value::Text("1.0".into()));
        assert_eq!(&text[entries[0].node.place.range.clone()], "1.0");
        assert_eq!(&text[entries[1].place.range.clone()], "b");
        let Value::List(list) = &entries[1].node.value else { panic!("a list") };
        let texts: Vec<&Value> = list.iter().map(|n| &n.value).collect();
        assert_eq!(texts, ["yes", "x y", "é", "0x1F", ""].map(|t| Value::Text(t.into())).iter().collect::<Vec<_>>());
        let Value::Table(inner) = &entries[2].node.value else { panic!("a table") };
        assert_eq!(inner[0].node.value, Value::Text("two\nlines\n".into()));
    }

    #[test]
    fn what_is_no_yaml_is_said_with_its_place() {
        for text in ["a: [1\nb: 2\n", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n", "a: *nobody\n"] {
            let (node, problems) = parsed(text);
            assert!(node.is_none(), "{text:?}");
            assert_eq!(problems.len(), 1);
            assert!(problems[0].starts_with("this is no YAML: "), "{problems:?}");
        }
    }

    #[test]
    fn a_few_bytes_cannot_become_a_billion_values() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            text += &format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", "));
        }
        assert!(parsed(&text).0.is_none());
        assert!(parsed(&"[".repeat(100_000)).0.is_none());
    }
}
