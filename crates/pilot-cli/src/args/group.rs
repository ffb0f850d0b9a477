//! Options of `group` and `broadcast`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use pilot_api::PeerRef;
use pilot_types::{Hostname, ParseHostnameError};

use super::talk::MessageType;
use crate::duration::Deadline;

/// What to do with groups.
#[derive(Subcommand, Debug)]
pub(crate) enum GroupCommand {
    /// Create a group, which this agent owns
    Create(CreateGroupArgs),
    /// Groups that this agent is in
    List,
    /// Become a member of a group
    Join {
        /// Its name
        name: GroupName,
        /// The token that its owner gave out
        #[arg(long, value_name = "T")]
        token: Option<String>,
    },
    /// Be a member no more
    Leave {
        /// Name or number [default: the only one]
        group: Option<String>,
    },
    /// Who is in a group
    Members {
        /// Name or number [default: the only one]
        group: Option<String>,
    },
    /// Let an agent join
    Invite {
        /// The agent
        peer: PeerRef,
        #[command(flatten)]
        of: OfGroup,
    },
    /// Invitations that wait for an answer
    Invites,
    /// Take an invitation
    Accept {
        /// The group's name
        name: GroupName,
    },
    /// Forget an invitation
    Decline {
        /// The group's name
        name: GroupName,
    },
    /// Remove a member
    Kick {
        /// The agent
        peer: PeerRef,
        #[command(flatten)]
        of: OfGroup,
    },
    /// Make a member an admin, or a plain member again
    Role {
        /// The agent
        peer: PeerRef,
        /// What it is to be
        role: Role,
        #[command(flatten)]
        of: OfGroup,
    },
    /// Show what holds in a group, or change it
    Policy(GroupPolicyArgs),
    /// Put a message into the inbox of the member that does it best, or of the next one
    Route(RouteArgs),
}

/// `group create`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl group create trading --join token --auto-trust")]
pub(crate) struct CreateGroupArgs {
    /// 1 to 63 characters, a-z first, then a-z, 0-9 or -
    pub(crate) name: GroupName,
    /// Who becomes a member by asking
    #[arg(long, value_name = "RULE", default_value = "invite")]
    pub(crate) join: JoinRule,
    /// Members trust each other without asking, with ports 7 and 1000-1002
    #[arg(long)]
    pub(crate) auto_trust: bool,
}

/// `group policy`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: pilotctl group policy trading --set auto_trust=true --set ports=7,1000-1002"
)]
pub(crate) struct GroupPolicyArgs {
    /// Name or number [default: the only one]
    pub(crate) group: Option<String>,
    /// join=open|token|invite, auto_trust=true|false, ports=7,1000-1002|all, broadcast=members|admins|owner|nobody, mailbox=true|false, token=new
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `group route`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: pilotctl group route trading --capability translate@1.2 --data 'good morning' --wait 10s"
)]
pub(crate) struct RouteArgs {
    /// Name or number
    pub(crate) group: String,
    /// What it has to be able to do: NAME, or NAME@VERSION for that version and later compatible ones
    #[arg(long, value_name = "C")]
    pub(crate) capability: String,
    /// What to say; - for standard input, @FILE for a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: String,
    /// How the data is to be read [default: text where it is UTF-8, else binary]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<MessageType>,
    /// Wait for a reply, and ask the next member where none comes [default: 30s]
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    pub(crate) wait: Option<Deadline>,
}

/// Which group a command about a member is for.
#[derive(Args, Debug)]
pub(crate) struct OfGroup {
    /// Name or number [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
}

/// Who becomes a member by asking.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum JoinRule {
    /// Everybody
    Open,
    /// Who knows the token
    Token,
    /// Who is invited
    Invite,
}

/// What a member is to be.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Adds and removes plain members
    Admin,
    /// A plain member
    Member,
}

/// `broadcast`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl broadcast trading \"the market is open\"")]
pub(crate) struct BroadcastArgs {
    /// Name or number of the group
    pub(crate) group: String,
    /// What to say
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: String,
}

/// A group's name; large letters are small ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupName(pub(crate) Hostname);

impl FromStr for GroupName {
    type Err = ParseHostnameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_ascii_lowercase().parse().map(Self)
    }
}
