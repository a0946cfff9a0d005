use super::*;

const NO_ENVIRONMENT: [(String, String); 0] = [];
const NO_FLAGS: [(&str, String); 0] = [];

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), text).expect("written");
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("config.toml")
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load_file(&self.file())
    }

    /// The complaints, with the folder's name cut off.
    fn complaints(&self) -> Vec<String> {
        let prefix = format!("{}/", self.0.path().display());
        let error = self.load().expect_err("a faulty configuration");
        error.0.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_empty_file_gives_the_defaults_beside_it() {
    let folder = Folder::with("");
    let config = folder.load().expect("defaults are valid");
    assert_eq!(config.data_dir, folder.0.path().join("data"));
    assert_eq!(config.p2p.listen_quic.to_string(), "/ip4/0.0.0.0/udp/7001/quic-v1");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.admin.token_file, None);
    assert_eq!(config.storage.reserve_bytes(), 64 << 20);
    assert_eq!(config.effective().len(), KEYS.len() - 1, "only the token file has no default");
}

#[test]
fn flags_beat_environment_beats_file() {
    let folder = Folder::with(
        "log.level = \"warn\"\nlog.format = \"json\"\n[api]\nlisten = \"127.0.0.1:1\"",
    );
    let set = environment(&[("BIZRA_LOG_LEVEL", "debug"), ("BIZRA_API_LISTEN", "127.0.0.1:2")]);
    let flags = [("api.listen", "127.0.0.1:3".to_owned())];
    let config = Config::layered(Some(&folder.file()), set, flags).expect("valid");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.api.listen.port(), 3);
}

#[test]
fn a_number_may_stand_without_quotes() {
    for value in ["7", "\"7\""] {
        let folder = Folder::with(&format!("[storage]\nreserve_mib = {value}"));
        assert_eq!(folder.load().expect("valid").storage.reserve_mib, 7);
    }
}

#[test]
fn paths_start_from_where_they_are_written() {
    let folder = Folder::with("data_dir = \"db\"\ngenesis = \"/etc/genesis.json\"");
    let set = environment(&[("BIZRA_PEERS", "p.json")]);
    let flags = [("keys_dir", "k".to_owned())];
    let config = Config::layered(Some(&folder.file()), set, flags).expect("valid");
    assert_eq!(config.data_dir, folder.0.path().join("db"));
    assert_eq!(config.genesis, Path::new("/etc/genesis.json"));
    assert_eq!(config.peers, Path::new("p.json"));
    assert_eq!(config.keys_dir, Path::new("k"));
}

#[test]
fn faults_of_the_file_are_named_with_their_line() {
    for (text, complaint) in [
        ("data_dri = \"x\"", "config.toml:1: unknown key data_dri; did you mean data_dir?"),
        (
            "\n[p2p]\nlisten_tpc = \"0.0.0.0:1\"",
            "config.toml:3: unknown key p2p.listen_tpc; did you mean p2p.listen_tcp?",
        ),
        ("[amdin]\nlisten = \"127.0.0.1:1\"", "config.toml:1: unknown key amdin"),
        ("[consensus]", "config.toml:1: unknown key consensus"),
        ("data_dir = 7", "config.toml:1: data_dir must be a string, not integer"),
        (
            "storage.reserve_mib = -1",
            "config.toml:1: storage.reserve_mib must be a number of MiB as 64, not \"-1\"",
        ),
        ("p2p = \"x\"", "config.toml:1: unknown key p2p"),
        ("data_dir = \"\"", "config.toml:1: data_dir must be a path, not empty"),
        (
            "\n\napi.listen = \"localhost:80\"",
            "config.toml:3: api.listen must be IP:PORT as 127.0.0.1:8080, not \"localhost:80\"",
        ),
        (
            "p2p.listen_quic = \"/ip4/1.2.3.4/tcp/1\"",
            "config.toml:1: p2p.listen_quic must be IP:PORT or a multiaddress as \
             /ip4/0.0.0.0/udp/7001/quic-v1, not \"/ip4/1.2.3.4/tcp/1\"",
        ),
        (
            "log.format = \"xml\"",
            "config.toml:1: log.format must be \"text\" or \"json\", not \"xml\"",
        ),
        (
            "log.level = \"inof\"",
            "config.toml:1: log.level has \"inof\" where a level or MODULE=LEVEL must be; did \
             you mean info?",
        ),
        (
            "p2p.dial_first = \"udp\"",
            "config.toml:1: p2p.dial_first must be \"tcp\" or \"quic\", not \"udp\"",
        ),
        (
            "admin.listen = \"0.0.0.0:8081\"",
            "config.toml:1: admin.listen is 0.0.0.0:8081, which others can reach: set \
             admin.token_file or listen on 127.0.0.1",
        ),
    ] {
        assert_eq!(Folder::with(text).complaints(), [complaint], "{text}");
    }
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    let complaints = Folder::with("data_dir = \"x\"\ngenesis = \n").complaints();
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("config.toml:2: "), "{}", complaints[0]);
    let complaints = Folder::with("data_dir = \"x\"\ndata_dir = \"y\"\n").complaints();
    assert!(complaints[0].starts_with("config.toml:2: "), "{}", complaints[0]);
}

#[test]
fn all_faults_are_reported_at_once() {
    let folder = Folder::with("dat_dir = \"x\"\napi.listen = \"x\"\nlog.format = \"x\"");
    assert_eq!(folder.complaints().len(), 3);
}

#[test]
fn unknown_variables_are_errors() {
    for (variable, complaint) in [
        (
            "BIZRA_LOG_LEVLE",
            "BIZRA_LOG_LEVLE: unknown variable BIZRA_LOG_LEVLE; did you mean BIZRA_LOG_LEVEL?",
        ),
        ("BIZRA_CONFGI", "BIZRA_CONFGI: unknown variable BIZRA_CONFGI; did you mean BIZRA_CONFIG?"),
        (
            "BIZRA_XYZZY_PLUGH_QUUX",
            "BIZRA_XYZZY_PLUGH_QUUX: unknown variable BIZRA_XYZZY_PLUGH_QUUX",
        ),
    ] {
        let set = environment(&[(variable, "x"), ("PATH", "/bin"), (FILE_VARIABLE, "x")]);
        let error = Config::layered(None, set, NO_FLAGS).expect_err("unknown");
        assert_eq!(error.to_string(), complaint);
    }
}

#[test]
fn variables_of_scripts_and_clients_are_passed_over() {
    let set = FOREIGN_VARIABLES.map(|name| (name.to_owned(), "x".to_owned()));
    let plain = Config::layered(None, NO_ENVIRONMENT, NO_FLAGS).expect("defaults are valid");
    assert_eq!(Config::layered(None, set, NO_FLAGS), Ok(plain));
}

#[test]
fn a_bad_value_names_the_layer_that_set_it() {
    let set = environment(&[("BIZRA_API_LISTEN", "here")]);
    let flags = [("log.format", "xml".to_owned())];
    let error = Config::layered(None, set, flags).expect_err("two faults");
    assert_eq!(
        error.to_string(),
        "BIZRA_API_LISTEN: api.listen must be IP:PORT as 127.0.0.1:8080, not \"here\"\n\
         --log-format: log.format must be \"text\" or \"json\", not \"xml\""
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = Config::load_file(Path::new("/nonexistent/config.toml")).expect_err("no file");
    assert!(error.to_string().starts_with("/nonexistent/config.toml: cannot read"), "{error}");
}

#[test]
fn listening_for_administration_beyond_loopback_takes_a_token() {
    let flags = [("admin.listen", "0.0.0.0:1".to_owned()), ("admin.token_file", "t".to_owned())];
    let config = Config::layered(None, NO_ENVIRONMENT, flags).expect("a token is named");
    assert!(matches!(config.admin.token(), Err(TokenError::Unreadable { .. })));
}

#[test]
fn tokens_are_private_and_long() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let admin = AdminConfig {
        listen: "127.0.0.1:1".parse().expect("an address"),
        token_file: Some(path.clone()),
    };
    let write = |text: &str, mode| {
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        admin.token()
    };
    assert_eq!(
        write("0123456789abcdef\n", 0o600).expect("good").as_deref(),
        Some("0123456789abcdef")
    );
    assert!(matches!(
        write("0123456789abcdef\n", 0o640),
        Err(TokenError::Open { mode: 0o640, .. })
    ));
    assert!(matches!(write("0123456789abcde\n", 0o600), Err(TokenError::Form { .. })));
    assert!(matches!(write("0123456789 abcdef\n", 0o600), Err(TokenError::Form { .. })));
    assert!(matches!(write("0123456789abcdef\nx", 0o600), Err(TokenError::Form { .. })));
}

#[test]
fn the_example_documents_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/node.example.toml");
    let config = Config::load_file(&path).expect("the example is valid");
    assert_eq!(config.effective().len(), KEYS.len(), "the example sets every key");
    let text = std::fs::read_to_string(&path).expect("readable");
    let mut section = String::new();
    let mut documented = Vec::new();
    let mut above = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            assert!(above.starts_with("# "), "{section}{name} has no comment above it");
            documented.push(format!("{section}{name}"));
        }
        above = line;
    }
    assert_eq!(documented, KEYS.iter().map(|key| key.name.to_owned()).collect::<Vec<_>>());
}

#[test]
fn the_example_of_a_peer_list_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/p2p/peers.json");
    let text = std::fs::read_to_string(path).expect("readable");
    let peers = bizra_gossip::parse_peers(&text).expect("valid");
    assert_eq!(peers.len(), 14, "seven validators with two transports each");
}
