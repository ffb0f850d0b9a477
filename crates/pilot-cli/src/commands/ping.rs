//! Round trips.

use std::time::{Duration, Instant};

use pilot_api::types::{PathKind, PingRequest, Pong};
use pilot_api::{ApiError, Client, ErrorCode};
use pilot_types::Address;
use serde::Serialize;

use crate::args::PingArgs;
use crate::context::Context;
use crate::output::{Failure, Output, Reply, to_json};
use crate::style;

/// Between the starts of two round trips.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long one of several round trips may take, so that a lost one does not use up the deadline of all.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Answer {
    /// The address that answered; as it was typed while none did.
    target: String,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    seq: u32,
    bytes: u64,
    rtt_ms: Option<f64>,
    path: PathKind,
    error: Option<String>,
}

pub(crate) async fn ping(context: &Context, args: PingArgs) -> Result<Reply, Failure> {
    let client = context.client()?;
    let deadline = context.settings.deadline().0.map(|d| Instant::now() + d);
    let mut run = Run {
        typed: args.peer.to_string(),
        address: None,
        results: vec![],
        output: context.output,
    };
    for seq in 1..=args.count {
        let started = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(started));
        if left == Some(Duration::ZERO) && seq > 1 {
            break;
        }
        let patience = if args.count == 1 {
            None
        } else {
            Some(PATIENCE)
        };
        let request = PingRequest {
            peer: args.peer.clone(),
            timeout_ms: Some(in_millis(left.into_iter().chain(patience).min())),
        };
        run.one(&client, seq, &request).await?;
        if seq < args.count {
            tokio::time::sleep(INTERVAL.saturating_sub(started.elapsed())).await;
        }
    }
    run.finish()
}

/// As the API has it: zero for none, so that what is left never rounds down to it.
fn in_millis(left: Option<Duration>) -> u64 {
    left.map_or(0, |left| {
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}

struct Run {
    typed: String,
    address: Option<Address>,
    results: Vec<Outcome>,
    output: Output,
}

impl Run {
    /// One round trip. What cannot get better by trying again ends the command.
    async fn one(
        &mut self,
        client: &Client,
        seq: u32,
        request: &PingRequest,
    ) -> Result<(), Failure> {
        match client.call(request).await {
            Ok(pong) => self.answered(seq, &pong),
            Err(error) if is_passing(error.code) => self.failed(seq, error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn answered(&mut self, seq: u32, pong: &Pong) {
        self.address = Some(pong.agent.address);
        let words = format!(
            "reply from {} · {}",
            pong.agent.address,
            style::millis(pong.rtt_ms)
        );
        self.output.line(&self.output.style.done(&words));
        self.results.push(Outcome {
            seq,
            bytes: pong.bytes,
            rtt_ms: Some(pong.rtt_ms),
            path: pong.path,
            error: None,
        });
    }

    fn failed(&mut self, seq: u32, error: ApiError) {
        let words = format!("no reply: {}", style::clean(&error.message));
        self.output.note(&words);
        self.results.push(Outcome {
            seq,
            bytes: 0,
            rtt_ms: None,
            path: PathKind::None,
            error: Some(error.message),
        });
    }

    fn finish(self) -> Result<Reply, Failure> {
        let has_answer = self.address.is_some();
        let answer = Answer {
            target: self
                .address
                .map_or(self.typed, |address| address.to_string()),
            results: self.results,
        };
        if has_answer {
            return Reply::new(&answer, "");
        }
        Err(Failure {
            error: ApiError::timeout(format!("no reply from {}", answer.target)),
            data: Some(to_json(&answer)?),
        })
    }
}

/// Whether another round trip may go better.
const fn is_passing(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Timeout | ErrorCode::ConnectionFailed => true,
        ErrorCode::Internal
        | ErrorCode::InvalidArgument
        | ErrorCode::NotFound
        | ErrorCode::NotRunning
        | ErrorCode::NotTrusted
        | ErrorCode::AlreadyExists
        | ErrorCode::PermissionDenied
        | ErrorCode::RateLimited => false,
    }
}
