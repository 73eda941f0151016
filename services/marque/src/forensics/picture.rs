//! A delegation tree drawn: as indented text, for Graphviz, as SVG.

use std::fmt::Write as _;

use super::tree::Node;
use crate::audit::explanation::short_did;
use crate::output::tame;

/// Height of a row, width of a level, and of a box, in pixels.
const ROW: usize = 64;
const LEVEL: usize = 40;
const BOX_WIDTH: usize = 420;
const BOX_HEIGHT: usize = 48;

/// Indented text.
pub(super) fn text(roots: &[Node]) -> String {
    let mut out = String::new();
    for root in roots {
        let _ = writeln!(out, "{}", line(root));
        branches(&mut out, root, "");
    }
    out.trim_end().to_owned()
}

fn branches(out: &mut String, node: &Node, indent: &str) {
    for (at, child) in node.children.iter().enumerate() {
        let last = at + 1 == node.children.len();
        let _ = writeln!(out, "{indent}{}{}", if last { "└─ " } else { "├─ " }, line(child));
        branches(out, child, &format!("{indent}{}", if last { "   " } else { "│  " }));
    }
}

/// One line, whatever the names are: a control character could move a terminal's cursor.
fn line(node: &Node) -> String {
    tame(&format!("{}  {}", who(node), did(node)))
}

/// Who holds it; of a root also what kind of agent, and who answers for it.
fn who(node: &Node) -> String {
    let holder = node.holder.as_deref().map_or_else(|| "unknown holder".to_owned(), short_did);
    match (&node.sponsor, &node.blueprint) {
        (Some(sponsor), Some(blueprint)) => format!("{sponsor} → {holder} ({blueprint})"),
        (_, _) => holder,
    }
}

/// What it may, and what was done with it.
fn did(node: &Node) -> String {
    let mut parts = Vec::new();
    if !node.tools.is_empty() {
        parts.push(crate::output::counted(node.tools.len() as u64, "tool"));
    }
    if !node.dropped.is_empty() {
        parts.push(format!("without {}", node.dropped.join(", ")));
    }
    parts.push(format!("{} permitted, {} denied, {} completed", node.permitted, node.denied, node.completed));
    if node.leaf.is_none() {
        parts.push("in no record of its own".into());
    }
    parts.join("; ")
}

/// Graphviz.
pub(super) fn dot(roots: &[Node]) -> String {
    let mut out = String::from("digraph delegation {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    roots.iter().for_each(|root| dot_node(&mut out, root));
    out.push('}');
    out
}

fn dot_node(out: &mut String, node: &Node) {
    let label = format!("{}\n{}", tame(&who(node)), tame(&did(node)));
    let _ = writeln!(out, "  {} [label={}];", quoted(&node.token), quoted(&label));
    for child in &node.children {
        let _ = writeln!(out, "  {} -> {};", quoted(&node.token), quoted(&child.token));
        dot_node(out, child);
    }
}

/// A quoted string of the DOT language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// SVG: a row for each token, indented by its depth, a line from its parent.
pub(super) fn svg(roots: &[Node]) -> String {
    let mut drawing = Drawing::default();
    roots.iter().for_each(|root| drawing.node(root, 0, None));
    let (width, height) = (drawing.depth * LEVEL + BOX_WIDTH + 2 * LEVEL, drawing.rows * ROW + ROW / 2);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n{}</svg>",
        drawing.body
    )
}

#[derive(Default)]
struct Drawing {
    body: String,
    rows: usize,
    depth: usize,
}

impl Drawing {
    fn node(&mut self, node: &Node, depth: usize, parent: Option<(usize, usize)>) {
        let (x, y) = (LEVEL / 2 + depth * LEVEL, ROW / 4 + self.rows * ROW);
        self.rows += 1;
        self.depth = self.depth.max(depth);
        if let Some((px, py)) = parent {
            let (from_x, mid) = (px + LEVEL / 4, y + BOX_HEIGHT / 2);
            let _ = writeln!(
                self.body,
                "<path d=\"M{from_x} {} V{mid} H{x}\" fill=\"none\" stroke=\"#888\"/>",
                py + BOX_HEIGHT
            );
        }
        let fill = if node.denied > 0 { "#fdecea" } else { "#eef4ff" };
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\" fill=\"{fill}\" \
             stroke=\"#556\"><title>{}</title></rect>",
            escaped(&node.token)
        );
        for (row, words) in [(18, who(node)), (36, did(node))] {
            let _ = writeln!(self.body, "<text x=\"{}\" y=\"{}\">{}</text>", x + 10, y + row, escaped(&words));
        }
        node.children.iter().for_each(|child| self.node(child, depth + 1, Some((x, y))));
    }
}

/// Text as XML content. Control characters, which XML can't hold, are left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Vec<Node> {
        let child = |token: &str| Node { token: token.into(), ..Node::default() };
        let hostile = Node { blueprint: Some("\"</text><x>&\\".into()), sponsor: Some("s\n".into()), ..child("a") };
        vec![Node {
            children: vec![Node { children: vec![child("c")], denied: 1, ..child("b") }, child("d")],
            ..hostile
        }]
    }

    #[test]
    fn text_hangs_children_below() {
        let drawn = text(&tree());
        let starts: Vec<&str> = drawn.lines().skip(1).filter(|line| line.contains("unknown")).collect();
        assert!(
            starts[0].starts_with("├─ ") && starts[1].starts_with("│  └─ ") && starts[2].starts_with("└─ "),
            "{drawn}"
        );
    }

    #[test]
    fn hostile_names_stay_text() {
        let (dot, svg) = (dot(&tree()), svg(&tree()));
        assert!(dot.contains(r#"\"</text><x>&\\"#) && !svg.contains("<x>"), "{dot}\n{svg}");
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches("<path").count(), 3);
    }
}
