//! Asking for trust, granting it, taking it back.

use pilot_api::PeerRef;
use pilot_api::types::{
    ApproveRequest, AppsGranted, HandshakeRequest, HandshakeStatus, PendingKnock, PendingRequest,
    RejectRequest, TrustRequest, TrustedAgent, UntrustRequest,
};

use super::discovery::{name_of, shown};
use crate::args::{ApproveArgs, HandshakeArgs};
use crate::context::Context;
use crate::duration::{Deadline, Span};
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

pub(crate) async fn handshake(context: &Context, args: HandshakeArgs) -> Result<Reply, Failure> {
    let peer = args.peer.clone();
    let request = HandshakeRequest {
        peer: args.peer,
        reason: sentence(&args.reason),
        wait_ms: args.wait.map(Deadline::as_millis),
        timeout_ms: Some(context.settings.deadline_with(args.wait).as_millis()),
    };
    let knocked = context.client()?.call(&request).await?;
    let words = match knocked.status {
        HandshakeStatus::Trusted => format!("trust holds with {}", spoken(&peer)),
        HandshakeStatus::Sent => format!("asked {}, if there is such an agent", spoken(&peer)),
    };
    Reply::new(&knocked, context.output.style.done(&words))
}

/// Words that were typed one by one.
fn sentence(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

/// The peer as it was typed, but for a ticket's secret.
fn spoken(peer: &PeerRef) -> String {
    match peer {
        PeerRef::Ticket(_) => "the ticket's agent".to_owned(),
        PeerRef::Address(_) | PeerRef::Key(_) | PeerRef::Node(_) | PeerRef::Hostname(_) => {
            peer.to_string()
        }
    }
}

pub(crate) async fn pending(context: &Context) -> Result<Reply, Failure> {
    let pending = context.client()?.call(&PendingRequest {}).await?;
    Reply::new(
        &pending,
        pending_words(&pending.pending, context.output.style),
    )
}

fn pending_words(pending: &[PendingKnock], style: Style) -> String {
    if pending.is_empty() {
        return style.faint("nobody waits for an answer");
    }
    let rows: Vec<[String; 5]> = pending
        .iter()
        .map(|knock| {
            [
                name_of(&knock.agent),
                knock.agent.address.to_string(),
                style::clean(&knock.fingerprint),
                knock.received_at.to_string(),
                style::clean(&knock.justification),
            ]
        })
        .collect();
    style.table(["NAME", "ADDRESS", "FINGERPRINT", "CAME", "WHY"], &rows)
}

pub(crate) async fn approve(context: &Context, args: ApproveArgs) -> Result<Reply, Failure> {
    let request = ApproveRequest {
        peer: args.peer,
        ports: args.ports.map(|ports| ports.0),
        expires_ms: args.expires.map(Span::as_millis),
        one_way: args.one_way,
        apps: args.apps,
        catalogue: args.catalogue,
        app_rate: args.app_rate,
        app_budget: args.app_budget,
    };
    let approved = context.client()?.call(&request).await?;
    let mut words = format!(
        "{} may reach ports {}, key {}",
        shown(&approved.agent),
        style::clean(&approved.scope),
        style::clean(&approved.fingerprint)
    );
    if let Some(apps) = &approved.apps {
        words.push_str(&format!("; apps: {}", apps_words(apps)));
    }
    Reply::new(&approved, context.output.style.done(&words))
}

pub(crate) async fn reject(
    context: &Context,
    peer: PeerRef,
    reason: &[String],
) -> Result<Reply, Failure> {
    let request = RejectRequest {
        peer,
        reason: sentence(reason),
    };
    let rejected = context.client()?.call(&request).await?;
    let words = format!("{} was refused", shown(&rejected.agent));
    Reply::new(&rejected, context.output.style.done(&words))
}

pub(crate) async fn untrust(context: &Context, peer: PeerRef) -> Result<Reply, Failure> {
    let untrusted = context.client()?.call(&UntrustRequest { peer }).await?;
    let words = format!("{} is trusted no more", shown(&untrusted.agent));
    Reply::new(&untrusted, context.output.style.done(&words))
}

pub(crate) async fn trust(context: &Context, search: Option<String>) -> Result<Reply, Failure> {
    let trusted = context.client()?.call(&TrustRequest { search }).await?;
    let mut words = trust_words(&trusted.trusted, context.output.style);
    if trusted.trusted.iter().any(|agent| agent.frozen) {
        words.push_str(
            "\nfrozen: two keys claim to be the agent's. Nothing holds until its owner recovers it (`pilotctl recovery use FILE` there).",
        );
    }
    Reply::new(&trusted, words)
}

fn apps_words(apps: &AppsGranted) -> String {
    let ids: Vec<String> = apps.ids.iter().map(|id| style::clean(id)).collect();
    let budget = apps.budget.map_or_else(String::new, |budget| {
        format!(", {} of {budget} calls made", apps.used)
    });
    let called = format!("{} ({} a minute{budget})", ids.join(" "), apps.per_minute);
    match (ids.is_empty(), apps.catalogue) {
        (true, _) => "the catalogue".to_owned(),
        (false, true) => format!("{called}, the catalogue"),
        (false, false) => called,
    }
}

fn trust_words(trusted: &[TrustedAgent], style: Style) -> String {
    if trusted.is_empty() {
        return style.faint("there is trust with nobody");
    }
    let rows: Vec<[String; 8]> = trusted
        .iter()
        .map(|agent| {
            [
                name_of(&agent.agent),
                agent.agent.address.to_string(),
                style::clean(&agent.fingerprint),
                style::clean(&agent.learnt_by),
                match (agent.frozen, agent.mutual) {
                    (true, _) => "frozen",
                    (false, true) => "both",
                    (false, false) => "one way",
                }
                .to_owned(),
                style::clean(&agent.scope),
                style::or_dash(agent.apps.as_ref().map(apps_words)),
                agent
                    .expires_at
                    .map_or_else(|| "–".to_owned(), |at| at.to_string()),
            ]
        })
        .collect();
    style.table(
        [
            "NAME",
            "ADDRESS",
            "FINGERPRINT",
            "LEARNT BY",
            "GRANTED",
            "PORTS",
            "APPS",
            "EXPIRES",
        ],
        &rows,
    )
}
