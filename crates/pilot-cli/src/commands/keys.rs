//! Other keys for this agent, and the key that recovers it: made and kept here, so that the daemon never sees one that it does not use.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pilot_api::types::{
    KeysChanged, NewRecoveryRequest, PublicKey, RecoveryRequest, RecoveryShown, RotateKeyRequest,
    UseRecoveryRequest,
};
use pilot_api::{ApiError, Client, ErrorCode};
use pilot_store::{Home, replace_file};
use pilot_trust::{Identity, IdentityLog, KeyChangeError, RecoveryKey, VerifiedLog};
use pilot_types::{Address, AgentId, Hostname, NodeId, Seed, decode_hex, encode_hex};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use zeroize::Zeroizing;

use super::discovery::shown;
use crate::args::RecoveryCommand;
use crate::context::{self, Context};
use crate::output::{Failure, Reply, print};
use crate::style::{self, Style};

/// Standard output, or input, in the place of a file.
const STANDARD: &str = "-";
/// Longest recovery file that is read.
const MAX_FILE: u64 = 512 * 1024;

/// How a command says what the keys are now.
#[derive(Serialize)]
struct Changed {
    node_id: NodeId,
    address: Address,
    hostname: Option<Hostname>,
    public_key: PublicKey,
    fingerprint: String,
    generation: u32,
    seq: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

impl Changed {
    fn of(keys: &KeysChanged, file: Option<&Path>) -> Self {
        Self {
            node_id: keys.agent.node_id,
            address: keys.agent.address,
            hostname: keys.agent.hostname.clone(),
            public_key: keys.public_key,
            fingerprint: keys.fingerprint.clone(),
            generation: keys.generation,
            seq: keys.seq,
            file: file.map(Path::to_owned),
        }
    }

    fn of_identity(identity: &Identity, file: Option<&Path>) -> Self {
        let log = identity.verified();
        Self {
            node_id: identity.agent().node(),
            address: identity.agent().address(),
            hostname: None,
            public_key: PublicKey(identity.sign_public()),
            fingerprint: pilot_trust::fingerprint(&identity.sign_public()),
            generation: log.generation(),
            seq: log.sequence(),
            file: file.map(Path::to_owned),
        }
    }

    fn words(&self, style: Style, what: &str) -> String {
        style.done(&format!(
            "{what}; the address stays {}\n  fingerprint {}",
            self.address, self.fingerprint
        ))
    }
}

pub(crate) async fn rotate(context: &Context) -> Result<Reply, Failure> {
    let keys = context.client()?.call(&RotateKeyRequest {}).await?;
    let changed = Changed::of(&keys, None);
    let words = changed.words(context.output.style, "this agent has new keys");
    Reply::new(&changed, words)
}

pub(crate) async fn recovery(
    context: &Context,
    command: RecoveryCommand,
) -> Result<Reply, Failure> {
    match command {
        RecoveryCommand::New { file, with } => new(context, &file, with.as_deref()).await,
        RecoveryCommand::Show => show(context).await,
        RecoveryCommand::Use { file } => recover(context, &file).await,
    }
}

async fn show(context: &Context) -> Result<Reply, Failure> {
    let found = context.client()?.call(&RecoveryRequest {}).await?;
    let words = shown_words(&found, context.output.style);
    Reply::new(&found, words)
}

fn shown_words(found: &RecoveryShown, style: Style) -> String {
    let set = match (found.recoverable, found.set_at) {
        (false, _) => "none: pilotctl recovery new FILE".to_owned(),
        (true, Some(at)) => format!("set on {at}"),
        (true, None) => "set with the first key".to_owned(),
    };
    let place = found.set_in_generation.zip(found.set_in_seq);
    let place = place.map(|(generation, seq)| format!("generation {generation}, key {seq}"));
    let facts = [
        ("address", found.agent.address.to_string()),
        ("public key", found.public_key.to_string()),
        (
            "keys",
            format!("generation {}, key {}", found.generation, found.seq),
        ),
        ("state", state_words(found)),
        ("recovery key", set),
        ("set in", style::or_dash(place)),
    ];
    style.facts(&facts)
}

fn state_words(found: &RecoveryShown) -> String {
    let by = found.refused_by.as_ref().map_or_else(String::new, |agent| {
        format!(", says {}", style::clean(&shown(agent)))
    });
    format!("{}{by}", super::profile::key_words(found.state))
}

/// Makes a recovery key. It is safe in its file before the agent's log names it: a key that nobody has would be there for ever.
async fn new(context: &Context, file: &Path, with: Option<&Path>) -> Result<Reply, Failure> {
    let old = with.map(read_key).transpose()?;
    let client = context.client()?;
    let found = client.call(&RecoveryRequest {}).await?;
    check_order(&found, old.is_some())?;
    let agent = decode_hex(&found.agent_id).map(AgentId::new);
    let agent = agent.map_err(|_| ApiError::internal("the daemon names no agent"))?;
    let key = RecoveryKey::generate(seed()?, agent);
    let place = Place::make(context, file, &key)?;
    let commitment = encode_hex(&key.commitment());
    let set = match &old {
        Some((old, _)) => {
            let key = old.to_text(None).to_string();
            let commitment = Some(commitment.clone());
            client.call(&UseRecoveryRequest { key, commitment }).await
        }
        None => {
            let commitment = commitment.clone();
            client.call(&NewRecoveryRequest { commitment }).await
        }
    };
    let keys = match set {
        Ok(keys) => keys,
        Err(error) => return Err(place.settle(&client, &commitment, error).await.into()),
    };
    place.add_log(context, &key, &log_of(&keys)?);
    let changed = Changed::of(&keys, place.file());
    let words = changed.words(
        context.output.style,
        "this agent has new keys and a recovery key",
    );
    let words = format!("{words}\n  {}", place.advice());
    if place.file().is_none() {
        context.output.note(&words);
        return Ok(Reply::Written);
    }
    Reply::new(&changed, words)
}

fn check_order(found: &RecoveryShown, has_old: bool) -> Result<(), ApiError> {
    match (found.recoverable, has_old) {
        (true, false) => Err(refused(&KeyChangeError::HasRecovery)),
        (false, true) => Err(ApiError::invalid(
            "--with: this agent has no recovery key yet, leave it out",
        )),
        (true, true) | (false, false) => Ok(()),
    }
}

/// Where a new recovery key is kept.
enum Place {
    File(PathBuf),
    Standard,
}

impl Place {
    fn make(context: &Context, file: &Path, key: &RecoveryKey) -> Result<Self, ApiError> {
        let text = key.to_text(None);
        if file == Path::new(STANDARD) {
            if context.output.is_json() {
                let words = "with --json standard output has the answer: name a file";
                return Err(ApiError::invalid(words));
            }
            print(text.trim_end()).map_err(|error| written(file, &error))?;
            return Ok(Self::Standard);
        }
        check_outside(context, file)?;
        write_new(file, text.as_bytes()).map_err(|error| written(file, &error))?;
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Ok(Self::File(file))
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Standard => None,
        }
    }

    /// With the log it recovers the agent also where nothing else is left of it; without, where the home is.
    fn add_log(&self, context: &Context, key: &RecoveryKey, log: &VerifiedLog) {
        let text = key.to_text(Some(log));
        let done = match self {
            Self::File(file) => replace_file(file, text.as_bytes()),
            Self::Standard => {
                let before = key.to_text(None).len();
                print(text[before..].trim_end())
            }
        };
        if let Err(error) = done {
            context.output.warning(&format!(
                "the recovery key is kept, without the log beside it: it is good as long as the home is there ({error})"
            ));
        }
    }

    /// It was not set, or nobody knows: then the key stays where it is.
    async fn settle(&self, client: &Client, commitment: &str, error: ApiError) -> ApiError {
        let Self::File(file) = self else {
            return error;
        };
        let is_set = client
            .call(&RecoveryRequest {})
            .await
            .map(|found| found.commitment.as_deref() == Some(commitment));
        match is_set {
            Ok(false) => {
                drop(std::fs::remove_file(file));
                error
            }
            Ok(true) | Err(_) => error.with_hint(format!(
                "keep {}: `pilotctl recovery show` says whether it is this agent's recovery key",
                file.display()
            )),
        }
    }

    fn advice(&self) -> String {
        let what = match self {
            Self::File(file) => format!("take {} off this machine", file.display()),
            Self::Standard => "keep what was printed off this machine".to_owned(),
        };
        format!("{what}: whoever has it can take this agent over, and nothing else brings it back")
    }
}

/// Who steals the home must not find the key that undoes the theft.
fn check_outside(context: &Context, file: &Path) -> Result<(), ApiError> {
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let parent = parent
        .canonicalize()
        .map_err(|error| written(file, &error))?;
    let home = context.settings.home()?;
    let home = home.canonicalize().unwrap_or(home);
    if parent.starts_with(&home) {
        let words = format!(
            "{} is inside the home: who steals that must not find it",
            file.display()
        );
        return Err(ApiError::invalid(words).with_hint("name a file elsewhere, or `-`"));
    }
    Ok(())
}

fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut made = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    made.write_all(bytes)?;
    made.sync_all()?;
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Recovers the agent: by its daemon, or where none runs in the home itself, also in a new one.
async fn recover(context: &Context, file: &Path) -> Result<Reply, Failure> {
    let (key, log) = read_key(file)?;
    let request = UseRecoveryRequest {
        key: key.to_text(None).to_string(),
        commitment: None,
    };
    let (changed, log) = match context.client()?.call(&request).await {
        Ok(keys) => (Changed::of(&keys, None), log_of(&keys)?),
        Err(error) if error.code == ErrorCode::NotRunning => {
            let identity = recover_home(context, &key, log.as_ref())?;
            let changed = Changed::of_identity(&identity, None);
            (changed, identity.verified().clone())
        }
        Err(error) => return Err(error.into()),
    };
    bring_up_to_date(context, file, &key, &log);
    let what = "this agent is recovered, and every key that was made since the recovery key was set is void";
    let words = changed.words(context.output.style, what);
    Reply::new(&changed, words)
}

fn recover_home(
    context: &Context,
    key: &RecoveryKey,
    log: Option<&VerifiedLog>,
) -> Result<Identity, ApiError> {
    let failed = |error: &dyn std::error::Error| {
        ApiError::internal(pilot_rendezvous::error::describe(error))
    };
    let dir = context.settings.home()?;
    let home = Home::open(dir).map_err(|error| failed(&error))?;
    let _lock = home.lock().map_err(|error| failed(&error))?;
    let known = home.load_identity().map_err(|error| failed(&error))?;
    let recovered = |base: &VerifiedLog| {
        let recovered = Identity::recovered(base, key, seed()?, context::now(), None);
        recovered.map_err(|error| refused(&error))
    };
    match (known, log) {
        (Some(known), log) => {
            let mine = known.verified();
            let newest = log.and_then(|log| mine.merged(log).ok());
            let identity = recovered(&newest.unwrap_or_else(|| mine.clone()))?;
            let replaced = home.replace_identity(&identity);
            replaced.map(|()| identity).map_err(|error| failed(&error))
        }
        (None, Some(log)) => {
            let identity = recovered(log)?;
            let saved = home.save_new_identity(&identity);
            saved.map(|()| identity).map_err(|error| failed(&error))
        }
        (None, None) => {
            let words = "the home has no identity, and the recovery file no log of one";
            Err(ApiError::new(ErrorCode::NotFound, words)
                .with_hint("name the agent's own home with --home"))
        }
    }
}

/// The next recovery follows this one: without it in the file, it would be another one in its place, and freeze the agent.
fn bring_up_to_date(context: &Context, file: &Path, key: &RecoveryKey, log: &VerifiedLog) {
    if file == Path::new(STANDARD) {
        return;
    }
    if let Err(error) = replace_file(file, key.to_text(Some(log)).as_bytes()) {
        context.output.warning(&format!(
            "{} could not be brought up to date ({error}): use it again in this home only",
            file.display()
        ));
    }
}

fn read_key(file: &Path) -> Result<(RecoveryKey, Option<VerifiedLog>), ApiError> {
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    let read = if file == Path::new(STANDARD) {
        io::stdin().lock().take(MAX_FILE).read_to_string(&mut text)
    } else {
        let opened = File::open(file);
        opened.and_then(|opened| opened.take(MAX_FILE).read_to_string(&mut text))
    };
    let shown = file.display();
    read.map_err(|error| ApiError::invalid(format!("cannot read {shown}: {error}")))?;
    RecoveryKey::parse(&text).map_err(|error| ApiError::invalid(format!("{shown}: {error}")))
}

fn log_of(keys: &KeysChanged) -> Result<VerifiedLog, ApiError> {
    let entries = keys.log.iter().map(|hex| decode_bytes(hex));
    let entries: Option<Vec<Vec<u8>>> = entries.collect();
    let log = entries.map(|entries| IdentityLog::from_entries(entries).verify(0));
    log.and_then(Result::ok)
        .ok_or_else(|| ApiError::internal("the daemon's answer holds no identity log"))
}

fn decode_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

fn seed() -> Result<Seed, ApiError> {
    let mut seed = [0; 32];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| ApiError::internal("the system gives no random numbers"))?;
    Ok(Seed::new(seed))
}

fn refused(error: &KeyChangeError) -> ApiError {
    let code = match error {
        KeyChangeError::HasRecovery => ErrorCode::AlreadyExists,
        KeyChangeError::NoRecovery => ErrorCode::NotFound,
        KeyChangeError::OtherKey => ErrorCode::PermissionDenied,
        KeyChangeError::OtherAgent(_) => ErrorCode::InvalidArgument,
        KeyChangeError::Full | KeyChangeError::Log(_) | _ => ErrorCode::Internal,
    };
    let words = ApiError::new(code, error.to_string());
    match error.hint() {
        Some(hint) => words.with_hint(hint),
        None => words,
    }
}

fn written(file: &Path, error: &io::Error) -> ApiError {
    let kind = error.kind();
    let code = if kind == io::ErrorKind::AlreadyExists {
        ErrorCode::AlreadyExists
    } else if kind == io::ErrorKind::PermissionDenied {
        ErrorCode::PermissionDenied
    } else {
        ErrorCode::InvalidArgument
    };
    ApiError::new(code, format!("cannot write {}: {error}", file.display()))
}
