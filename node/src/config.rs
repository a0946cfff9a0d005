//! The node's configuration: file below environment below flags.
//!
//! [`KEYS`] is the one list of what can be set. A key of the file is
//! `section.name`; its variable is `BIZRA_SECTION_NAME` and its flag
//! `--section-name`. What none of them is called is an error that names the
//! nearest right one: a typo must not run a validator on a default. Everything
//! wrong is reported at once, with file and line.
//!
//! Consensus timing is not here. It is chain state, so that nodes cannot
//! disagree about it.

use bizra_gossip::{Multiaddr, TransportKind};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::de::{DeTable, DeValue};
use tracing_subscriber::EnvFilter;

/// What every environment variable of the configuration begins with.
pub const ENVIRONMENT_PREFIX: &str = "BIZRA_";

/// The variable that names the configuration file, in place of `--config`.
pub const FILE_VARIABLE: &str = "BIZRA_CONFIG";

/// Variables of scripts and clients, which share the prefix and are none of the
/// node's business. They may be set where a node is started.
pub const FOREIGN_VARIABLES: [&str; 3] = ["BIZRA_BIN", "BIZRA_P2P_BIN", "BIZRA_ENDPOINT"];

/// Shortest admin token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// One thing that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file, with its section.
    pub name: &'static str,
    /// Its value when nobody sets it; none if it is then simply absent.
    pub default: Option<&'static str>,
}

/// Everything that can be set.
pub const KEYS: &[Key] = &[
    Key { name: "data_dir", default: Some("data") },
    Key { name: "keys_dir", default: Some("keys") },
    Key { name: "genesis", default: Some("genesis.json") },
    Key { name: "peers", default: Some("peers.json") },
    Key { name: "storage.reserve_mib", default: Some("64") },
    Key { name: "p2p.listen_tcp", default: Some("0.0.0.0:7000") },
    Key { name: "p2p.listen_quic", default: Some("0.0.0.0:7001") },
    Key { name: "p2p.dial_first", default: Some("tcp") },
    Key { name: "p2p.followers_allowed", default: Some("true") },
    Key { name: "api.listen", default: Some("0.0.0.0:8080") },
    Key { name: "admin.listen", default: Some("127.0.0.1:8081") },
    Key { name: "admin.token_file", default: None },
    Key { name: "log.format", default: Some("text") },
    Key { name: "log.level", default: Some("info") },
];

/// What a node is started with. Holds no secret: keys and the token are files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// Where the four key files lie.
    pub keys_dir: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// The list of peers.
    pub peers: PathBuf,
    /// The database.
    pub storage: StorageConfig,
    /// The network between nodes.
    pub p2p: P2pConfig,
    /// The public API.
    pub api: ApiConfig,
    /// Probes, metrics and administration.
    pub admin: AdminConfig,
    /// What is written to standard error.
    pub log: LogConfig,
}

/// The database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// With fewer than so many MiB free on its disk the node signs nothing.
    pub reserve_mib: u32,
}

/// The network between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2pConfig {
    /// Where to listen with TLS on TCP.
    pub listen_tcp: Multiaddr,
    /// Where to listen with QUIC.
    pub listen_quic: Multiaddr,
    /// The transport that is dialled first; the other follows when it fails.
    pub dial_first: TransportKind,
    /// Whether peers that are neither listed nor validators may connect.
    pub followers_allowed: bool,
}

/// The public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Probes, metrics and administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen; beyond loopback only with a token.
    pub listen: SocketAddr,
    /// The file whose one line callers must show as a bearer token.
    pub token_file: Option<PathBuf>,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Its form.
    pub format: LogFormat,
    /// How much: a level, or a filter such as `info,bizra_gossip=debug`.
    pub level: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Everything that is wrong with a configuration; one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set.
    pub origin: Origin,
    /// What is wrong there, as a sentence that begins with the key.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file, from 1; 0 for the file as a whole.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

/// Why an admin token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{}: cannot read the admin token: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// Others could read it.
    #[error("{}: mode {mode:04o} lets others use the admin token: run chmod 0600", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too easy to guess, or not one line.
    #[error(
        "{}: the admin token must be one line of at least {TOKEN_BYTES_MIN} printable ASCII \
         characters",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// A value as it was written, and where.
#[derive(Clone, Debug)]
struct Setting {
    text: String,
    origin: Origin,
}

impl Key {
    /// Whether its value is a number: then so is its default.
    fn is_number(&self) -> bool {
        self.default.is_some_and(|default| default.parse::<u32>().is_ok())
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The flag that sets it, without the dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }
}

impl Config {
    /// Reads the configuration of this process: `file`, the process's
    /// environment, and `flags` as pairs of a key's name and its value.
    /// Relative paths in the file and in defaults start from the file's
    /// folder, others from the working directory.
    ///
    /// # Errors
    /// When anything is unknown, malformed or contradictory; all of it is named.
    pub fn load(
        file: Option<&Path>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(ENVIRONMENT_PREFIX)
                .then(|| (name, value.to_string_lossy().into_owned()))
        });
        Self::layered(file, environment, flags)
    }

    /// Reads a configuration file alone, whatever the environment says.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_file(file: &Path) -> Result<Self, ConfigError> {
        Self::layered(Some(file), [], [])
    }

    /// As [`Config::load`], from a given environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn layered(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut settings = BTreeMap::new();
        for key in KEYS {
            if let Some(default) = key.default {
                let setting = Setting { text: default.to_owned(), origin: Origin::Default };
                settings.insert(key.name, setting);
            }
        }
        if let Some(file) = file {
            read_file(file, &mut settings, &mut problems);
        }
        read_environment(environment, &mut settings, &mut problems);
        for (name, text) in flags {
            let key = KEYS.iter().find(|key| key.name == name).expect("flags are made from keys");
            settings.insert(key.name, Setting { text, origin: Origin::Flag(key.flag()) });
        }
        let folder = file.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let mut reader = Reader { settings, folder, problems };
        let config = reader.read();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => {
                reader.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
                Err(ConfigError(reader.problems))
            }
        }
    }

    /// Every key with the value in force, as the file would spell it.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        KEYS.iter()
            .filter_map(|key| {
                let value = match key.name {
                    "data_dir" => path(&self.data_dir),
                    "keys_dir" => path(&self.keys_dir),
                    "genesis" => path(&self.genesis),
                    "peers" => path(&self.peers),
                    "storage.reserve_mib" => self.storage.reserve_mib.to_string(),
                    "p2p.listen_tcp" => self.p2p.listen_tcp.to_string(),
                    "p2p.listen_quic" => self.p2p.listen_quic.to_string(),
                    "p2p.dial_first" => transport_name(self.p2p.dial_first).to_owned(),
                    "p2p.followers_allowed" => self.p2p.followers_allowed.to_string(),
                    "api.listen" => self.api.listen.to_string(),
                    "admin.listen" => self.admin.listen.to_string(),
                    "admin.token_file" => path(self.admin.token_file.as_deref()?),
                    "log.format" => self.log.format.to_string(),
                    "log.level" => self.log.level.clone(),
                    name => unreachable!("the key {name} has no value"),
                };
                Some((key.name, value))
            })
            .collect()
    }
}

impl StorageConfig {
    /// The reserve in bytes.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        u64::from(self.reserve_mib) << 20
    }
}

impl AdminConfig {
    /// The token that callers must show; none if none is asked for.
    ///
    /// # Errors
    /// When the file cannot be read, others could read it, or it is no token.
    pub fn token(&self) -> Result<Option<String>, TokenError> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(path) = &self.token_file else { return Ok(None) };
        let unreadable = |reason| TokenError::Unreadable { path: path.clone(), reason };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Open { path: path.clone(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let token = text.trim_end_matches(['\r', '\n']);
        let is_token =
            token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token {
            Ok(Some(token.to_owned()))
        } else {
            Err(TokenError::Form { path: path.clone() })
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("must be \"text\" or \"json\", not {other:?}")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("defaults"),
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// The nearest of some names, if one is near enough to have been meant.
#[must_use]
pub fn nearest<T: AsRef<str>>(wrong: &str, names: impl IntoIterator<Item = T>) -> Option<T> {
    let distance = |name: &T| strsim::damerau_levenshtein(wrong, name.as_ref());
    let (distance, name) = names
        .into_iter()
        .map(|name| (distance(&name), name))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= name.as_ref().len().div_ceil(3)).then_some(name)
}

fn read_file(
    path: &Path,
    settings: &mut BTreeMap<&'static str, Setting>,
    problems: &mut Vec<Problem>,
) {
    let mut fault = |line, message: String| {
        problems.push(Problem { origin: Origin::File(path.to_owned(), line), message });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return fault(0, format!("cannot read the configuration: {error}")),
    };
    let document = match DeTable::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map_or(0, |span| line_of(&text, &span));
            return fault(line, error.message().to_owned());
        }
    };
    let mut entries = Vec::new();
    flatten("", document.get_ref(), &mut entries);
    for (name, span, value) in entries {
        let line = line_of(&text, &span);
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            fault(line, unknown("key", &name, KEYS.iter().map(|key| key.name.to_owned())));
            continue;
        };
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Integer(integer) if key.is_number() => integer.to_string(),
            other => {
                fault(line, format!("{name} must be a string, not {}", other.type_str()));
                continue;
            }
        };
        settings.insert(key.name, Setting { text, origin: Origin::File(path.to_owned(), line) });
    }
}

/// Lists the leaves of a table with their dotted names. An empty table is a
/// leaf too, so that a misspelt section is seen even when nothing is in it.
fn flatten<'a>(
    prefix: &str,
    table: &'a DeTable<'_>,
    entries: &mut Vec<(String, Range<usize>, &'a DeValue<'a>)>,
) {
    for (name, value) in table {
        let dotted = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if is_section(&dotted) => flatten(&dotted, inner, entries),
            other => entries.push((dotted, name.span(), other)),
        }
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(section, _)| section == name))
}

fn read_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    settings: &mut BTreeMap<&'static str, Setting>,
    problems: &mut Vec<Problem>,
) {
    for (variable, text) in environment {
        let is_foreign = FOREIGN_VARIABLES.contains(&variable.as_str());
        if !variable.starts_with(ENVIRONMENT_PREFIX) || variable == FILE_VARIABLE || is_foreign {
            continue;
        }
        let origin = Origin::Environment(variable.clone());
        match KEYS.iter().find(|key| key.variable() == variable) {
            Some(key) => {
                settings.insert(key.name, Setting { text, origin });
            }
            None => {
                let known = KEYS.iter().map(Key::variable).chain([FILE_VARIABLE.to_owned()]);
                let message = unknown("variable", &variable, known);
                problems.push(Problem { origin, message });
            }
        }
    }
}

fn unknown(what: &str, wrong: &str, names: impl Iterator<Item = String>) -> String {
    match nearest(wrong, names) {
        Some(right) => format!("unknown {what} {wrong}; did you mean {right}?"),
        None => format!("unknown {what} {wrong}"),
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count() + 1
}

struct Reader<'a> {
    settings: BTreeMap<&'static str, Setting>,
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads every key, so that every problem is found, and only then gives up.
    fn read(&mut self) -> Option<Config> {
        let data_dir = self.path("data_dir");
        let keys_dir = self.path("keys_dir");
        let genesis = self.path("genesis");
        let peers = self.path("peers");
        let reserve_mib = self.value("storage.reserve_mib", mebibytes);
        let listen_tcp = self.value("p2p.listen_tcp", |text| listen(text, TransportKind::Tcp));
        let listen_quic = self.value("p2p.listen_quic", |text| listen(text, TransportKind::Quic));
        let dial_first = self.value("p2p.dial_first", transport);
        let followers_allowed = self.value("p2p.followers_allowed", boolean);
        let api_listen = self.value("api.listen", socket_address);
        let admin_listen = self.value("admin.listen", socket_address);
        let token_file = self.path("admin.token_file");
        let format = self.value("log.format", str::parse);
        let level = self.value("log.level", log_filter);
        if let Some(address) = admin_listen
            && !address.ip().is_loopback()
            && token_file.is_none()
        {
            let message = format!(
                "admin.listen is {address}, which others can reach: set admin.token_file or \
                 listen on 127.0.0.1"
            );
            let origin = self.settings["admin.listen"].origin.clone();
            self.problems.push(Problem { origin, message });
        }
        Some(Config {
            data_dir: data_dir?,
            keys_dir: keys_dir?,
            genesis: genesis?,
            peers: peers?,
            storage: StorageConfig { reserve_mib: reserve_mib? },
            p2p: P2pConfig {
                listen_tcp: listen_tcp?,
                listen_quic: listen_quic?,
                dial_first: dial_first?,
                followers_allowed: followers_allowed?,
            },
            api: ApiConfig { listen: api_listen? },
            admin: AdminConfig { listen: admin_listen?, token_file },
            log: LogConfig { format: format?, level: level? },
        })
    }

    fn value<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = self.settings.get(name)?;
        match read(&setting.text) {
            Ok(value) => Some(value),
            Err(message) => {
                let message = format!("{name} {message}");
                self.problems.push(Problem { origin: setting.origin.clone(), message });
                None
            }
        }
    }

    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let setting = self.settings.get(name)?;
        if setting.text.is_empty() {
            let message = format!("{name} must be a path, not empty");
            self.problems.push(Problem { origin: setting.origin.clone(), message });
            return None;
        }
        match setting.origin {
            Origin::Default | Origin::File(..) => Some(self.folder.join(&setting.text)),
            Origin::Environment(_) | Origin::Flag(_) => Some(PathBuf::from(&setting.text)),
        }
    }
}

fn listen(text: &str, transport: TransportKind) -> Result<Multiaddr, String> {
    let example = match transport {
        TransportKind::Tcp => "/ip4/0.0.0.0/tcp/7000",
        TransportKind::Quic => "/ip4/0.0.0.0/udp/7001/quic-v1",
    };
    let refuse = || format!("must be IP:PORT or a multiaddress as {example}, not {text:?}");
    let address: Multiaddr = if text.starts_with('/') {
        text.parse().map_err(|_| refuse())?
    } else {
        let address: SocketAddr = text.parse().map_err(|_| refuse())?;
        let (family, ip, port) = match address {
            SocketAddr::V4(v4) => ("ip4", v4.ip().to_string(), v4.port()),
            SocketAddr::V6(v6) => ("ip6", v6.ip().to_string(), v6.port()),
        };
        let text = match transport {
            TransportKind::Tcp => format!("/{family}/{ip}/tcp/{port}"),
            TransportKind::Quic => format!("/{family}/{ip}/udp/{port}/quic-v1"),
        };
        text.parse().expect("an address and a port make a multiaddress")
    };
    if TransportKind::of(&address) == Some(transport) { Ok(address) } else { Err(refuse()) }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("must be IP:PORT as 127.0.0.1:8080, not {text:?}"))
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("must be true or false, not {text:?}"))
}

fn mebibytes(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("must be a number of MiB as 64, not {text:?}"))
}

fn transport(text: &str) -> Result<TransportKind, String> {
    TransportKind::ALL
        .into_iter()
        .find(|kind| transport_name(*kind) == text)
        .ok_or_else(|| format!("must be \"tcp\" or \"quic\", not {text:?}"))
}

const fn transport_name(kind: TransportKind) -> &'static str {
    match kind {
        TransportKind::Tcp => "tcp",
        TransportKind::Quic => "quic",
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    // The filter takes any word for the name of a module, typos of levels included.
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word);
    for directive in text.split(',').map(str::trim) {
        let is_plain = !directive.contains(['=', '[']);
        if is_plain && !is_level(directive) {
            let hint = nearest(directive, LEVELS)
                .map_or_else(String::new, |level| format!("; did you mean {level}?"));
            return Err(format!("has {directive:?} where a level or MODULE=LEVEL must be{hint}"));
        }
    }
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("is no log filter: {error}"))
}

#[cfg(test)]
mod tests;
