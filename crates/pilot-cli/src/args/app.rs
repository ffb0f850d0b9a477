//! `appstore …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pilot_api::PeerRef;
use pilot_api::types::{FilterOnFailure, FilterStage};
use pilot_appstore::{AppId, Grant};
use pilot_trust::DocumentKey;

/// What to do with apps. APP is an id, or the last part of it where that is unambiguous.
#[derive(Subcommand, Debug)]
pub(crate) enum AppCommand {
    /// Apps that the catalogues have
    Catalogue(WhereArgs),
    /// What an app of a catalogue offers and asks for
    View(ViewArgs),
    /// Install an app, or upgrade to it
    Install(InstallArgs),
    /// Installed apps, or those of another agent that you may call
    List {
        /// The agent
        peer: Option<PeerRef>,
    },
    /// Call a method of an app
    Call(CallArgs),
    /// How an app stands
    Status {
        /// The app
        app: String,
    },
    /// What an app may do, and what holds it to that
    Caps {
        /// The app
        app: String,
    },
    /// End an app's process; the next call starts it, also if it was suspended
    Restart {
        /// The app
        app: String,
    },
    /// Go back to the version before
    Rollback {
        /// The app
        app: String,
    },
    /// Remove an app, and what it keeps
    Uninstall {
        /// The app
        app: String,
        /// Leave what it keeps
        #[arg(long)]
        keep_data: bool,
    },
    /// The app that is asked about messages, events and calls, before they go on
    #[command(subcommand)]
    Filter(FilterCommand),
    /// What apps were asked, and what became of it
    Audit {
        /// Of this app alone
        app: Option<String>,
        /// At most so many, the newest [default: 100]
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Write an app to begin with
    New {
        /// A directory that is not there yet; its name becomes the app's
        dir: PathBuf,
        /// In Python, and not in Rust
        #[arg(long)]
        python: bool,
    },
    /// Make an app of an OpenAPI 3 document (JSON), without code, and sign it
    Adapt(AdaptArgs),
    /// Credentials of an adapted app: kept here, put into its requests, never shown
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Put hashes and publisher into a bundle's manifest, and sign it
    Sign {
        /// The bundle
        dir: PathBuf,
    },
    /// Check a bundle: signature, every file, and that its program runs here
    Verify {
        /// The bundle
        dir: PathBuf,
    },
    /// Put a signed bundle into a catalogue
    Publish(PublishAppArgs),
    /// Withdraw a version from a catalogue
    Yank(YankArgs),
    /// Keys of publishers
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Where to look.
#[derive(Args, Debug)]
pub(crate) struct WhereArgs {
    /// Look in this catalogue, file:///DIR, https://HOST/… or pilot://PEER [default: those of the configuration, in their order]
    #[arg(long, value_name = "URL")]
    pub(crate) catalogue: Option<String>,
}

/// `appstore view`.
#[derive(Args, Debug)]
pub(crate) struct ViewArgs {
    /// The app
    pub(crate) app: String,
    /// Which version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

/// `appstore install`.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// The app
    pub(crate) app: String,
    /// Which version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// Grant all that it asks for
    #[arg(long)]
    pub(crate) yes: bool,
    /// Grant this, as read:/srv/texts; may be repeated
    #[arg(long, value_name = "GRANT")]
    pub(crate) grant: Vec<Grant>,
    /// Install it although this machine cannot enforce all of it
    #[arg(long)]
    pub(crate) allow_unenforced: bool,
}

/// `appstore call`.
#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The app, or PEER/APP for one of another agent
    #[arg(value_name = "[PEER/]APP")]
    pub(crate) app: String,
    /// The method; help lists them
    pub(crate) method: String,
    /// The arguments, or - to read them from standard input
    #[arg(default_value = "{}", value_name = "JSON")]
    pub(crate) params: String,
}

/// `appstore adapt`.
#[derive(Args, Debug)]
pub(crate) struct AdaptArgs {
    /// The document
    pub(crate) spec: PathBuf,
    /// The bundle's directory, which is not there yet [default: the last part of the app's id]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The app's id [default: local. and the document's title]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<AppId>,
    /// Where the API is, https://HOST/PATH [default: the document's first server]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Only this method; may be repeated
    #[arg(long, value_name = "METHOD")]
    pub(crate) only: Vec<String>,
}

/// What to do with credentials.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// Keep a credential, read from standard input
    Set {
        /// The app
        app: String,
        /// Its name, as the app's document has it
        name: String,
    },
    /// The names of those that are set
    List {
        /// The app
        app: String,
    },
    /// Forget a credential
    Remove {
        /// The app
        app: String,
        /// Its name
        name: String,
    },
}

/// `appstore publish`.
#[derive(Args, Debug)]
pub(crate) struct PublishAppArgs {
    /// The bundle
    pub(crate) dir: PathBuf,
    /// The catalogue, file:///DIR; it is made if it is not there [default: the first of the configuration]
    #[arg(long, value_name = "URL")]
    pub(crate) catalogue: Option<String>,
}

/// `appstore yank`.
#[derive(Args, Debug)]
pub(crate) struct YankArgs {
    /// The app's whole id
    pub(crate) id: AppId,
    /// Which version
    pub(crate) version: String,
    /// The catalogue, file:///DIR [default: the first of the configuration]
    #[arg(long, value_name = "URL")]
    pub(crate) catalogue: Option<String>,
}

/// What to do with the filter.
#[derive(Subcommand, Debug)]
pub(crate) enum FilterCommand {
    /// Ask an app about what comes and goes
    Set(FilterArgs),
    /// Ask no app any more
    Clear,
    /// Which app is asked, about what, and what it said
    Status,
}

/// `appstore filter set`.
#[derive(Args, Debug)]
pub(crate) struct FilterArgs {
    /// The app; it serves the method filter
    pub(crate) app: String,
    /// What it is asked about: inbox, outbox, events, arguments, results
    #[arg(long, value_name = "STAGES", value_delimiter = ',', required = true)]
    pub(crate) stages: Vec<FilterStage>,
    /// What becomes of that when the app fails: block, flag or pass
    #[arg(long, value_name = "WHAT", default_value = "block")]
    pub(crate) on_failure: FilterOnFailure,
}

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a key to sign with
    New,
    /// The key to sign with, and the publishers that are known
    Show,
    /// Let apps of a publisher run here
    Trust {
        /// Its public key
        key: Key,
        /// What to call it
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
    },
    /// Let nothing of a publisher run here any more
    Revoke {
        /// Its public key
        key: Key,
    },
}

/// A publisher's key on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Key(pub(crate) DocumentKey);

impl std::str::FromStr for Key {
    type Err = pilot_trust::ParseDocumentKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
