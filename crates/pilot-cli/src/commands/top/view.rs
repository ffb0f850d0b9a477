//! How `top` looks: drawn on a terminal, or as text.

use std::collections::VecDeque;

use pilot_api::types::{AgentSummary, ConnectionSummary, Info};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Paint};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::model::{Model, Order, PeerRow, Rates};
use crate::style::{self, Style};

const FAINT: Paint = Paint::new().fg(Color::DarkGray);
const HEAD: Paint = Paint::new().add_modifier(Modifier::BOLD);
const BAD: Paint = Paint::new().fg(Color::Red);

/// The whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let streams = u16::try_from(model.streams().len().clamp(1, 8)).unwrap_or(8);
    let areas = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(5),
        Constraint::Min(4),
        Constraint::Length(streams + 2),
        Constraint::Length(1),
    ]);
    let [head, traffic, peers, open, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(model)), head);
    draw_traffic(frame, model, traffic);
    draw_peers(frame, model, peers);
    draw_streams(frame, model, open);
    frame.render_widget(foot_line(model), foot);
}

fn head_lines(model: &Model) -> Vec<Line<'static>> {
    let info = model.info();
    let name = info.agent.hostname.as_ref().map(ToString::to_string);
    let first = Line::from(vec![
        Span::styled(name.unwrap_or_else(|| "no name".to_owned()), HEAD),
        Span::raw(format!("  {}  ", info.agent.address)),
        Span::styled(
            format!(
                "pilot {} · up {} · {} in the inbox · {} mapping, {} filtering",
                style::clean(&info.version),
                style::uptime(info.uptime_secs),
                messages(model.messages()),
                style::clean(&info.nat.mapping),
                style::clean(&info.nat.filtering),
            ),
            FAINT,
        ),
    ]);
    let mut lines = vec![first];
    lines.extend(info.rendezvous.iter().take(2).map(|rendezvous| {
        let is_up = rendezvous.state == "connected";
        Line::from(vec![
            Span::styled(
                if is_up { "● " } else { "○ " },
                Paint::new().fg(if is_up { Color::Green } else { Color::Yellow }),
            ),
            Span::raw(style::clean(&rendezvous.state)),
            Span::styled(format!("  {}", style::clean(&rendezvous.url)), FAINT),
        ])
    }));
    lines
}

fn draw_traffic(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let [sent, received] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    let series = |of: fn(&Rates) -> u64, width: u16| newest(model.history(), of, width);
    let drawn = [
        (
            sent,
            "sent",
            model.rates().sent,
            series(|it| it.sent, sent.width),
            Color::Cyan,
        ),
        (
            received,
            "received",
            model.rates().received,
            series(|it| it.received, received.width),
            Color::Magenta,
        ),
    ];
    for (area, name, now, series, colour) in drawn {
        let title = format!(" {name} {} ", rate(now));
        let line = Sparkline::default()
            .block(Block::bordered().title(title).border_style(FAINT))
            .style(Paint::new().fg(colour))
            .data(series);
        frame.render_widget(line, area);
    }
}

/// The newest rates that a block of this width has room for.
fn newest(history: &VecDeque<Rates>, of: fn(&Rates) -> u64, width: u16) -> Vec<u64> {
    let room = usize::from(width.saturating_sub(2));
    let skipped = history.len().saturating_sub(room);
    history.iter().skip(skipped).map(of).collect()
}

fn draw_peers(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let order = match model.order() {
        Order::Traffic => "traffic",
        Order::Name => "name",
        Order::RoundTrip => "round trip",
    };
    let title = format!(" {} peers, by {order} ", model.peers().len());
    let rows = model.peers().iter().skip(model.scrolled());
    let rows = rows.map(|peer| Row::new(peer_cells(peer)));
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(18),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(PEER_HEADS).style(HEAD))
        .block(Block::bordered().title(title).border_style(FAINT));
    frame.render_widget(table, area);
}

fn draw_streams(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let title = format!(" {} open streams ", model.streams().len());
    let rows = model.streams().iter().map(|it| Row::new(stream_cells(it)));
    let widths = [
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let block = Block::bordered().title(title).border_style(FAINT);
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

fn foot_line(model: &Model) -> Line<'static> {
    match model.error() {
        Some(error) => Line::styled(format!("✗ {}, trying again", style::clean(error)), BAD),
        None => Line::styled("q ends · s sorts · ↑ ↓ scroll", FAINT),
    }
}

const PEER_HEADS: [&str; 7] = [
    "NAME", "ADDRESS", "PATH", "RTT", "STREAMS", "SENT", "RECEIVED",
];

fn peer_cells(peer: &PeerRow) -> [String; 7] {
    let path = match &peer.relay {
        Some(relay) => format!("{} via {}", peer.path, style::clean(relay)),
        None => peer.path.to_string(),
    };
    [
        style::or_dash(peer.agent.hostname.as_ref()),
        peer.agent.address.to_string(),
        path,
        style::or_dash(peer.rtt_ms.map(style::millis)),
        peer.streams.to_string(),
        rate(peer.bytes_per_second.sent),
        rate(peer.bytes_per_second.received),
    ]
}

fn stream_cells(stream: &ConnectionSummary) -> [String; 7] {
    [
        stream.id.to_string(),
        stream.local_port.to_string(),
        format!("{}:{}", stream.remote_addr, stream.remote_port),
        style::clean(&stream.state),
        style::or_dash(stream.srtt_ms.map(style::millis)),
        size(stream.bytes_sent),
        size(stream.bytes_recv),
    ]
}

/// The same for whoever reads a file of it.
pub(super) fn text(model: &Model, style: Style) -> String {
    let Info {
        agent, uptime_secs, ..
    } = model.info();
    let rates = model.rates();
    let facts = style.facts(&[
        ("agent", called(agent)),
        ("uptime", style::uptime(*uptime_secs)),
        ("sent", rate(rates.sent)),
        ("received", rate(rates.received)),
        ("inbox", messages(model.messages())),
        ("streams", model.streams().len().to_string()),
    ]);
    if model.peers().is_empty() {
        return format!("{facts}\n\n{}", style.faint("no live sessions"));
    }
    let rows: Vec<_> = model.peers().iter().map(peer_cells).collect();
    format!("{facts}\n\n{}", style.table(PEER_HEADS, &rows))
}

fn called(agent: &AgentSummary) -> String {
    super::super::discovery::shown(agent)
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

/// Three digits and a unit by thousands.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.95 => 2,
        value if value < 99.5 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests;
