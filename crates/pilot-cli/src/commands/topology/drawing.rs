//! The graph for other programs to draw, and drawn: this agent in the middle of a circle.

use std::f64::consts::TAU;
use std::fmt::Write;

use pilot_api::html::escaped;

use super::{Edge, Graph, Kind, Node};

/// Half of the drawing's side with few nodes; it grows so that neighbours on the circle are this far apart.
const LEAST_RADIUS: f64 = 150.0;
const APART: f64 = 60.0;
/// Room for names around the circle.
const MARGIN: f64 = 130.0;

/// A graph in the language of Graphviz.
pub(super) fn dot(graph: &Graph) -> String {
    let mut lines = vec!["graph pilot {".to_owned()];
    for node in &graph.nodes {
        let shape = match node.kind {
            Kind::Own => "doublecircle",
            Kind::Agent => "circle",
            Kind::Rendezvous => "box",
        };
        let (id, label) = (quoted(&node.id), quoted(&node.label()));
        lines.push(format!("  {id} [label={label}, shape={shape}];"));
    }
    for edge in &graph.edges {
        let line = if edge.is_live() { "solid" } else { "dashed" };
        let (from, to, label) = (quoted(&edge.from), quoted(&edge.to), quoted(&edge.label()));
        lines.push(format!("  {from} -- {to} [label={label}, style={line}];"));
    }
    lines.push("}".to_owned());
    lines.join("\n")
}

/// A string of that language: only the quote and the backslash mean something in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An image that needs nothing else.
pub(super) fn svg(graph: &Graph) -> String {
    let others = &graph.nodes[1..];
    let count = u32::try_from(others.len().max(1)).unwrap_or(u32::MAX);
    let radius = (f64::from(count) * APART / TAU).max(LEAST_RADIUS);
    let middle = radius + MARGIN;
    let side = 2.0 * middle;
    let place = |index: usize| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let angle = TAU * f64::from(index) / f64::from(count) - TAU / 4.0;
        (middle + radius * angle.cos(), middle + radius * angle.sin())
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side:.0} {side:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\" text-anchor=\"middle\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (index, edge) in graph.edges.iter().enumerate() {
        line(&mut out, (middle, middle), place(index), edge);
    }
    for (index, node) in others.iter().enumerate() {
        circle(&mut out, place(index), node);
    }
    circle(&mut out, (middle, middle), &graph.nodes[0]);
    out.push_str("</svg>");
    out
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), edge: &Edge) {
    let dashes = if edge.is_live() {
        ""
    } else {
        " stroke-dasharray=\"4 4\""
    };
    let between = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0 - 4.0);
    write!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#789\"{dashes}/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#456\">{}</text>\n",
        from.0,
        from.1,
        to.0,
        to.1,
        between.0,
        between.1,
        escaped(&edge.label())
    )
    .expect("a String takes it");
}

fn circle(out: &mut String, at: (f64, f64), node: &Node) {
    let (size, fill) = match node.kind {
        Kind::Own => (14, "#167"),
        Kind::Agent => (10, "#4a8"),
        Kind::Rendezvous => (8, "#a74"),
    };
    let label = match node.kind {
        Kind::Rendezvous => "rendezvous".to_owned(),
        Kind::Own | Kind::Agent => node.label(),
    };
    write!(
        out,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{size}\" fill=\"{fill}\"><title>{}</title></circle>\n\
         <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        at.0,
        at.1,
        escaped(&node.id),
        at.0,
        at.1 + 26.0,
        escaped(&label)
    )
    .expect("a String takes it");
}

#[cfg(test)]
mod tests {
    use pilot_api::types::PathKind;

    use super::*;

    fn graph(names: &[&str]) -> Graph {
        let node = |(index, name): (usize, &&str)| Node {
            id: format!("0:0000.0000.{index:04}"),
            kind: if index == 0 { Kind::Own } else { Kind::Agent },
            node_id: None,
            address: None,
            hostname: Some((*name).to_owned()),
        };
        let nodes: Vec<Node> = names.iter().enumerate().map(node).collect();
        let edges = nodes[1..].iter().map(|to| Edge {
            from: nodes[0].id.clone(),
            to: to.id.clone(),
            path: PathKind::Direct,
            relay: None,
            rtt_ms: Some(22.0),
            trust: "mutual".to_owned(),
        });
        let edges = edges.collect();
        Graph { nodes, edges }
    }

    #[test]
    fn names_of_others_are_text_in_every_drawing() {
        let graph = graph(&["own", "<script>\"\\\u{1b}"]);
        let svg = svg(&graph);
        assert!(svg.contains("&lt;script&gt;&quot;") && !svg.contains("<script"));
        assert!(!svg.contains('\u{1b}'));
        let dot = dot(&graph);
        assert!(dot.contains(r#"label="<script>\"\\\\u{1b}""#), "{dot}");
        assert!(dot.contains(
            r#""0:0000.0000.0000" -- "0:0000.0000.0001" [label="direct 22ms", style=solid];"#
        ));
    }

    #[test]
    fn a_drawing_has_room_for_every_node() {
        let names = vec!["x"; 1001];
        let svg = svg(&graph(&names));
        assert_eq!(svg.matches("<circle").count(), 1001);
        assert!(
            !svg.contains('-') || !svg.contains("cx=\"-"),
            "nothing lies outside"
        );
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }

    #[test]
    fn an_agent_alone_is_drawn_too() {
        let graph = graph(&["own"]);
        assert_eq!(svg(&graph).matches("<circle").count(), 1);
        assert_eq!(dot(&graph).lines().count(), 3);
    }
}
