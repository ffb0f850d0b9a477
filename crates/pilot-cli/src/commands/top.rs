//! `top`: this agent at work, drawn again every second; where nobody looks, one picture of it as text or JSON.

mod model;
mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use pilot_api::types::{ConnectionsRequest, InboxRequest, InfoRequest, PeersRequest};
use pilot_api::{ApiError, Client};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::model::{Model, Sample};
use crate::args::TopArgs;
use crate::context::Context;
use crate::output::{Failure, Reply};

/// How long a key is waited for before it is looked whether the picture is still wanted.
const KEY_PATIENCE: Duration = Duration::from_millis(200);
/// Keys that wait to be acted upon.
const MAX_KEYS: usize = 64;

pub(crate) async fn top(context: &Context, args: TopArgs) -> Result<Reply, Failure> {
    let client = context.client()?;
    let mut model = Model::new(sample(&client).await?);
    let is_watched = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.once || context.settings.json || !is_watched {
        // Rates are the difference of two looks.
        tokio::time::sleep(args.interval.0).await;
        model.take(sample(&client).await?);
        return Reply::new(&model.summary(), view::text(&model, context.output.style));
    }
    watch(&client, &mut model, args.interval.0).await?;
    Ok(Reply::Written)
}

/// What the daemon says of itself now.
async fn sample(client: &Client) -> Result<Sample, ApiError> {
    let inbox = InboxRequest {
        limit: Some(0),
        ..InboxRequest::default()
    };
    Ok(Sample {
        info: client.call(&InfoRequest {}).await?,
        peers: client.call(&PeersRequest::default()).await?.peers,
        streams: client.call(&ConnectionsRequest {}).await?.connections,
        messages: client.call(&inbox).await?.total,
        at: Instant::now(),
    })
}

/// Draws until the user has seen enough. The terminal is as it was afterwards, after a panic too.
async fn watch(client: &Client, model: &mut Model, interval: Duration) -> Result<(), ApiError> {
    let unusable = |error| ApiError::internal(format!("the terminal cannot be used: {error}"));
    let mut ended = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut terminal = ratatui::try_init().map_err(unusable)?;
    let mut keys = keys();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let drawn = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(frame, model)) {
            break Err(unusable(error));
        }
        tokio::select! {
            key = keys.recv() => match key {
                Some(Input::Key(key)) if is_end(key) => break Ok(()),
                Some(Input::Key(key)) => press(model, key.code),
                Some(Input::Resized) => {}
                None => break Ok(()),
            },
            _ = tick.tick() => match sample(client).await {
                Ok(sample) => model.take(sample),
                // It may come back: the last picture stays, with the error in it.
                Err(error) => model.failed(&error),
            },
            _ = ended.recv() => break Ok(()),
        }
    };
    ratatui::restore();
    drawn
}

enum Input {
    Key(KeyEvent),
    Resized,
}

/// Keys as they are pressed, read by a thread that ends when nobody takes them any more.
fn keys() -> mpsc::Receiver<Input> {
    let (pressed, keys) = mpsc::channel(MAX_KEYS);
    std::thread::spawn(move || {
        while !pressed.is_closed() {
            let input = match event::poll(KEY_PATIENCE) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let input = match input {
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => Input::Key(key),
                Ok(Event::Resize(..)) => Input::Resized,
                Ok(_) => continue,
                Err(_) => return,
            };
            // A full queue loses keys, not the picture.
            let _ = pressed.try_send(input);
        }
    });
    keys
}

fn is_end(key: KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

fn press(model: &mut Model, code: KeyCode) {
    if let KeyCode::Char('s') = code {
        model.sort_by_next();
    } else if let KeyCode::Down | KeyCode::Char('j') = code {
        model.scroll_by(1);
    } else if let KeyCode::Up | KeyCode::Char('k') = code {
        model.scroll_by(-1);
    } else if let KeyCode::PageDown = code {
        model.scroll_by(10);
    } else if let KeyCode::PageUp = code {
        model.scroll_by(-10);
    }
}
