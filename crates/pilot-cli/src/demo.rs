//! The whole story on this machine: a rendezvous and two agents find, trust and talk to each other.
//!
//! Everything is done by this very program as child processes, in a temporary directory, on ephemeral loopback ports.

mod event;
mod payload;
mod pipe;
mod report;
mod stage;
mod story;

use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::output::{Failure, Reply};
use pilot_api::ApiError;
use report::Report;
use stage::Stage;

/// Runs the demo. Whatever happens, nothing is left behind unless it is to be kept.
pub(crate) async fn run(context: &Context, keep: bool) -> Result<Reply, Failure> {
    let mut report = Report::new(context.output);
    let mut stage = Stage::new()?;
    let told = tokio::select! {
        told = story::tell(&mut stage, &mut report) => told,
        interrupted = interruption() => Err(interrupted),
    };
    if let Err(error) = told {
        report.failed(&stage.log_ends());
        stage.clear().await;
        return Err(Failure {
            error,
            data: Some(report.to_json(None)?),
        });
    }
    let (data, mut words) = (report.to_json(keep.then(|| stage.dir()))?, report.table());
    if keep {
        words = format!("{words}\n\n{}", stage.keep());
    } else {
        stage.clear().await;
    }
    Ok(Reply::Answer { data, words })
}

/// SIGINT and SIGTERM end the demo, not its cleaning up.
async fn interruption() -> ApiError {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    ApiError::internal("the demo was interrupted")
}
