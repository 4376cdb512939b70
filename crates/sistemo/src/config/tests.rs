use super::*;
use types::Code;

fn resolve(flags: &Flags, env: &[(&str, &str)], file: Option<&str>) -> Result<Config, Problem> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
    }
    let env = |name: &str| {
        env.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
            .or_else(|| (name == "SISTEMO_DATA_DIR").then(|| dir.path().display().to_string()))
    };
    let around = Surroundings { env: &env, root: true, cwd: "/".into(), file_required: true, there: None };
    Config::resolve(flags, &around)
}

fn origin(config: &Config, key: &str) -> String {
    let setting = config.settings.iter().find(|s| s.key.name == key).unwrap();
    let text = setting.origin.to_string();
    text.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let file = "stop_timeout = 10\nssh_timeout = \"5m\"\n[hypervisor]\naccel = \"tcg\"\n";
    let none = resolve(&vec![], &[], None).unwrap();
    assert_eq!(none.stop_timeout, Duration::from_secs(90));
    assert_eq!(origin(&none, "stop_timeout"), "default");

    assert_eq!(none.pool_warn, 90);
    assert_eq!(resolve(&vec![], &[], Some("pool.warn = 75")).unwrap().pool_warn, 75);

    let from_file = resolve(&vec![], &[], Some(file)).unwrap();
    assert_eq!(from_file.stop_timeout, Duration::from_secs(10));
    assert_eq!(from_file.ssh_timeout, Duration::from_secs(300));
    assert_eq!(from_file.accel, "tcg");
    assert_eq!(origin(&from_file, "hypervisor.accel"), "config.toml:4:9");

    let env = [("SISTEMO_STOP_TIMEOUT", "20s"), ("SISTEMO_LOG", "debug")];
    let from_env = resolve(&vec![], &env, Some(file)).unwrap();
    assert_eq!(from_env.stop_timeout, Duration::from_secs(20));
    assert_eq!(origin(&from_env, "stop_timeout"), "SISTEMO_STOP_TIMEOUT");

    let flags = vec![("log", "trace".to_owned())];
    let from_flag = resolve(&flags, &env, Some(file)).unwrap();
    assert_eq!(from_flag.log, "trace");
    assert_eq!(origin(&from_flag, "log"), "--log");
}

#[test]
fn limits_and_the_network() {
    let file = "[limits]\nmax_vcpus = 4\nmax_memory = \"8G\"\nmax_storage = \"1TB\"\n\
                [pool]\nreserve = \"5%\"\novercommit = 1.5\n\
                [network]\nsubnet = \"192.168.77.0/24\"\ndns = [\"9.9.9.9\", \"2620:fe::fe\"]\n";
    let config = resolve(&vec![], &[], Some(file)).unwrap();
    assert_eq!((config.max_vcpus, config.max_memory), (4, ByteSize::gib(8)));
    assert_eq!(config.max_storage, ByteSize::gib(1024));
    assert_eq!((config.pool_reserve, config.pool_overcommit), (engine::Reserve::Percent(5), Some(150)));
    assert_eq!((config.gateway.to_string().as_str(), config.prefix), ("192.168.77.1", 24));
    assert_eq!(config.dns.len(), 2);
    let gateway = resolve(&vec![], &[], Some("network.subnet = \"10.1.0.9/16\"")).unwrap().gateway;
    assert_eq!(gateway.to_string(), "10.1.0.9");
    let none = resolve(&vec![], &[], None).unwrap();
    assert_eq!((none.pool_reserve, none.pool_overcommit), (engine::Reserve::Bytes(ByteSize(0)), None));
    assert_eq!((none.max_vcpus, none.max_storage), (types::machine::MAX_VCPUS, ByteSize::MAX));
    assert_eq!(none.gateway.to_string(), "10.200.0.1");
}

#[test]
fn tables_lists_and_texts() {
    let file = "listen = \"off\"\nallowed_hosts = [\"a.example\", \"b.example\"]\n\
                trusted_proxies = \"10.0.0.0/8, ::1\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\n";
    let config = resolve(&vec![], &[], Some(file)).unwrap();
    assert_eq!(config.listen, None);
    assert_eq!(config.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.tls, Tls::Files { cert: "/c".into(), key: "/k".into() });
    let config = resolve(&vec![], &[], Some("tls = \"self-signed\"")).unwrap();
    assert_eq!(config.tls, Tls::SelfSigned);
}

#[test]
fn data_directory_and_url_follow_the_user() {
    let env = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
    let mut around =
        Surroundings { env: &env, root: false, cwd: "/srv".into(), file_required: true, there: None };
    let config = Config::resolve(&vec![], &around).unwrap();
    assert_eq!(config.url, "unix:///home/ada/.local/share/sistemo/sistemo.sock");
    let flags = vec![("data_dir", "here".to_owned())];
    let config = Config::resolve(&flags, &around).unwrap();
    assert_eq!(config.data_dir, Path::new("/srv/here"));
    around.root = true;
    let config = Config::resolve(&vec![], &around).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/sistemo"));
}

#[test]
fn who_has_no_daemon_asks_the_hosts() {
    let env = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
    let (own, host) = ("/home/ada/.local/share/sistemo/sistemo.sock", "/var/lib/sistemo/sistemo.sock");
    let url = |flags: Flags, root: bool, sockets: &[&str]| {
        let there = |path: &Path| sockets.iter().any(|socket| Path::new(socket) == path);
        let around =
            Surroundings { env: &env, root, cwd: "/".into(), file_required: false, there: Some(&there) };
        Config::resolve(&flags, &around).unwrap().url
    };
    let (to_own, to_host) = (format!("unix://{own}"), format!("unix://{host}"));
    assert_eq!(url(vec![], false, &[host]), to_host);
    assert_eq!(url(vec![], false, &[own, host]), to_own);
    assert_eq!(url(vec![], false, &[]), to_own);
    assert_eq!(url(vec![], true, &[]), to_host);
    // Whoever says where it is has said it.
    let home = "/home/ada/.local/share/sistemo".to_owned();
    assert_eq!(url(vec![("data_dir", home)], false, &[host]), to_own);
    assert_eq!(url(vec![("url", "http://h".into())], false, &[host]), "http://h");
    // A daemon's API is in its own directory, whoever else runs.
    let around = Surroundings { env: &env, root: false, cwd: "/".into(), file_required: true, there: None };
    assert_eq!(Config::resolve(&vec![], &around).unwrap().url, to_own);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    for (file, place) in [
        ("\nstop_timout = 3", ":2:1: there is no setting \"stop_timout\""),
        ("[hypervisor]\n\nspeed = 1", ":3:1: there is no setting \"hypervisor.speed\""),
        ("[nonsense]\na = 1", ":1:2: there is no setting \"nonsense\""),
        ("log = [1]", ":1:1: \"log\" is not a text, a number or a list"),
        ("a = = 1", ":1:5: "),
        ("data_dir = \"/x\"", "cannot be set here"),
        ("listen = \"7777\"", "config.toml:1:10)"),
        ("stop_timeout = \"soon\"", "is not a length of time"),
        ("stop_timeout = \"99999999999999999d\"", "is not a length of time"),
        ("workers = 0", "1 to 64"),
        ("[pool]\nwarn = \"0%\"", "part of a hundred"),
        ("[pool]\nwarn = \"101\"", "part of a hundred"),
        ("restart_after_boot = \"maybe\"", "not true or false"),
        ("[hypervisor]\naccel = \"xen\"", "auto, kvm or tcg"),
        ("[network]\nsubnet = \"10.255.255.255/8\"", "last address"),
        ("[network]\nsubnet = \"10.0.0.1\"", "no subnet"),
        ("[network]\nsubnet = \"127.0.0.0/8\"", "no subnet that hosts can have"),
        ("[network]\naddress = \"10.0.0.1/8\"", "there is no setting \"network.address\""),
        ("[network]\ndns = \"one.one.one.one\"", "no list of addresses"),
        ("[network]\ndns = [\"127.0.0.53\"]", "guests cannot reach"),
        ("[network]\ndns = \"1.1.1.1,1.0.0.1,9.9.9.9,8.8.8.8\"", "more than 3"),
        ("[pool]\nreserve = \"101%\"", "part of a hundred"),
        ("[pool]\nreserve = \"-1G\"", "neither a size"),
        ("[pool]\novercommit = 0", "no multiple"),
        ("[pool]\novercommit = \"nan\"", "no multiple"),
        ("[limits]\nmax_vcpus = 256", "1 to 255"),
        ("[limits]\nmax_memory = \"5TB\"", "the most there can be"),
        ("[limits]\nmax_storage = \"much\"", "is no size"),
        ("[network]\nbridge = \"a-name-too-long-for-linux\"", "name of an interface"),
        ("reconciler_interval = 0", "too short"),
        ("node = \"A B\"", "no name of a host"),
        ("listen_insecure = 1", "neither true nor false"),
        ("tls = \"yes\"", "neither self-signed nor off"),
        ("[tls]\ncert = \"/c\"", "has no tls.key"),
        ("[tls]\nkey = \"/k\"", "has no tls.cert"),
        ("[tls]\nfingerprint = \"x\"", "no fingerprint"),
        ("trusted_proxies = [\"x\"]", "no list of addresses"),
        ("[rate_limit]\nrps = 0", "1 to 1000000"),
    ] {
        let problem = resolve(&vec![], &[], Some(file)).unwrap_err();
        assert_eq!(problem.code, Code::InvalidConfig, "{file:?}");
        assert!(problem.hint.is_some(), "{file:?}: {problem}");
        assert!(problem.message.contains(place), "{file:?}: {}", problem.message);
    }
}

#[test]
fn every_range_is_the_one_that_is_documented() {
    let (name, long_name) = ("n".repeat(63), "n".repeat(64));
    let (bridge, long_bridge) = ("b".repeat(15), "b".repeat(16));
    type Ends<'a> = &'a [&'a str];
    let any: (&str, Ends, Ends) = ("0s to 36600d", &["0", "0s", "36600d"], &["36601d", "-1s"]);
    let some: (&str, Ends, Ends) = ("1s to 36600d", &["1s", "1000ms", "36600d"], &["999ms", "0", "36601d"]);
    let rate: (&str, Ends, Ends) = ("1 to 1000000", &["1", "1000000"], &["0", "1000001"]);
    let size: (&str, Ends, Ends) = ("1M to 16777215M", &["1M", "16777215M"], &["0", "16777216M"]);
    let all: &[(&str, (&str, Ends, Ends))] = &[
        ("node", ("1 to 63 letters", &["n", &name], &["", &long_name])),
        ("stop_timeout", any),
        ("boot_timeout", any),
        ("ssh_timeout", any),
        ("reconciler_interval", some),
        ("shutdown_timeout", any),
        ("trash.keep", any),
        ("pool.warn", ("1% to 100%", &["1%", "1", "100%"], &["0%", "101%"])),
        ("pool.reserve", ("0, 1M to 16777215M", &["0", "1M", "16777215M"], &["16777216M"])),
        ("pool.reserve", ("1% to 100%", &["1%", "100%"], &["101%"])),
        ("pool.overcommit", ("0.01 to 1000", &["0.01", "1000", "off"], &["0.009", "1000.1"])),
        ("pool.overcommit", ("1% to 100000%", &["1%", "100000%"], &["0.9%", "100001%"])),
        ("limits.max_vcpus", ("1 to 255", &["1", "255"], &["0", "256"])),
        ("limits.max_memory", ("1M to 4TB", &["1M", "4TB"], &["0", "4194305M"])),
        ("limits.max_storage", size),
        ("workers", ("1 to 64", &["1", "64"], &["0", "65"])),
        ("network.bridge", ("1 to 15 letters", &["b", &bridge], &["", &long_bridge])),
        ("network.subnet", ("8 to 30 bits", &["10.0.0.0/8", "10.0.0.0/30"], &["10.0.0.0/7", "10.0.0.0/31"])),
        ("network.dns", ("up to 3", &["", "9.9.9.1,9.9.9.2,9.9.9.3"], &["9.9.9.1,9.9.9.2,9.9.9.3,9.9.9.4"])),
        ("rate_limit.rps", rate),
        ("rate_limit.burst", rate),
        ("session_timeout", some),
        ("history.keep", some),
        ("history.size", size),
    ];
    for (key, (documented, inside, outside)) in all {
        let key = KEYS.iter().find(|k| k.name == *key).unwrap();
        assert!(key.range.contains(documented), "{}: {}", key.name, key.range);
        for value in *inside {
            let taken = resolve(&vec![], &[(key.env, *value)], None);
            assert!(taken.is_ok(), "{} = {value}: {taken:?}", key.name);
        }
        for value in *outside {
            let refused = resolve(&vec![], &[(key.env, *value)], None).unwrap_err();
            assert_eq!(refused.code, Code::InvalidConfig, "{} = {value}", key.name);
            assert!(refused.hint.is_some(), "{refused:?}");
        }
    }
    for key in KEYS {
        assert!(!key.range.is_empty(), "{}", key.name);
        let numeric = key.range.contains(" to ");
        assert!(!numeric || all.iter().any(|(name, _)| *name == key.name), "{} is not tried", key.name);
    }
}

#[test]
fn every_key_has_its_variable() {
    for key in KEYS {
        let expected = format!("SISTEMO_{}", key.name.to_uppercase().replace('.', "_"));
        assert_eq!(key.env, expected);
    }
}

#[test]
fn the_nearest_key_is_named() {
    for (file, near) in [
        ("stop_timout = 3", "stop_timeout"),
        ("accel = \"tcg\"", "hypervisor.accel"),
        ("[ratelimit]\nrps = 3", "rate_limit.rps"),
        ("[rate_limit]\nrsp = 3", "rate_limit.rps"),
        ("reconcile_interval = 3", "reconciler_interval"),
    ] {
        let problem = resolve(&vec![], &[], Some(file)).unwrap_err();
        assert!(problem.hint.as_ref().unwrap().contains(&format!("\"{near}\"")), "{file}: {problem:?}");
    }
    let problem = resolve(&vec![], &[], Some("zzz = 1")).unwrap_err();
    assert!(!problem.hint.unwrap().contains("perhaps"));
}
