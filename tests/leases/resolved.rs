//! Name servers go to systemd-resolved, the real one: on a message bus, in mounts and with users of
//! its own, so that it is the resolver of nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Answer, Host, eventually, run};
use lab::{Error, Lan, Mounts, Process, StateDir, or_skip};

/// systemd-resolved and its bus; both end with this.
#[derive(Debug)]
struct Resolved {
    _bus: Process,
    _resolved: Process,
    _files: StateDir,
}

/// The bus as systemd-resolved and resolvectl look for it, open to everybody on it.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

impl Resolved {
    /// Starts them for a host whose daemon has not been started.
    fn start(host: &mut Host) -> lab::Result<Self> {
        let root = package()?;
        let files = StateDir::new()?;
        let mounts = mounts(&root, &files)?;
        host.namespace.set_mounts(Arc::new(mounts));
        let version = resolvectl(host, &["--version"]);
        if version.code != 0 {
            return Err(Error::Unavailable(format!("resolvectl does not run: {}", version.err)));
        }
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--nofork", "--nopidfile", "--config-file"]);
        let bus = Process::start(&host.namespace, {
            bus.arg(files.write("bus.conf", BUS)?);
            bus
        })?;
        let mut resolved = Command::new(root.join("lib/systemd/systemd-resolved"));
        resolved.env_remove("NOTIFY_SOCKET").env("SYSTEMD_LOG_TARGET", "console");
        let socket = Path::new("/run/dbus/system_bus_socket");
        let mounts = host.namespace.mounts().unwrap().clone();
        eventually("the bus", || mounts.run(|| socket.exists()).unwrap());
        let resolved = Process::start(&host.namespace, resolved)?;
        eventually("systemd-resolved on the bus", || resolvectl(host, &["dns"]).code == 0);
        Ok(Self { _bus: bus, _resolved: resolved, _files: files })
    }
}

/// Where the files of the package are: unpacked somewhere, or installed.
fn package() -> lab::Result<PathBuf> {
    let root = std::env::var_os("IPHELPER_RESOLVED").map_or_else(|| "/".into(), PathBuf::from);
    let files = ["lib/systemd/systemd-resolved", "usr/bin/resolvectl"];
    if !files.iter().all(|file| root.join(file).is_file()) {
        return Err(Error::Unavailable("systemd-resolved is not there".into()));
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !map.contains("4294967295") {
        let reason = "there is no user for systemd-resolved in this user namespace";
        return Err(Error::Unavailable(reason.into()));
    }
    match ["/usr/bin", "/bin"].iter().any(|bin| Path::new(bin).join("dbus-daemon").is_file()) {
        true => Ok(root),
        false => Err(Error::Unavailable("dbus-daemon is not installed".into())),
    }
}

/// Mounts in which resolvectl is where it would be, `/run` is empty, and systemd-resolved's user
/// is known.
fn mounts(root: &Path, files: &StateDir) -> lab::Result<Mounts> {
    let with = |file: &str, line: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let text = match text.lines().any(|line| line.starts_with("systemd-resolve:")) {
            true => text,
            false => format!("{text}{line}\n"),
        };
        files.write(file.rsplit('/').next().unwrap(), &text)
    };
    let passwd = with("/etc/passwd", "systemd-resolve:x:963:963::/:/usr/sbin/nologin")?;
    let group = with("/etc/group", "systemd-resolve:x:963:")?;
    Mounts::prepared(|| {
        sys::mount::tmpfs(Path::new("/run"), "mode=0755")?;
        fs::create_dir_all("/run/systemd")?;
        fs::create_dir_all("/run/dbus")?;
        sys::mount::bind(&passwd, Path::new("/etc/passwd"))?;
        sys::mount::bind(&group, Path::new("/etc/group"))?;
        if root == Path::new("/") {
            return Ok(());
        }
        let mut overlay = Command::new("mount");
        let layers = format!("lowerdir={}:/usr/bin", root.join("usr/bin").display());
        overlay.args(["-t", "overlay", "overlay", "-o", &layers, "/usr/bin"]);
        match overlay.status()?.success() {
            true => Ok(()),
            false => Err(io::Error::other("no overlay over /usr/bin")),
        }
    })
}

#[track_caller]
fn resolvectl(host: &Host, arguments: &[&str]) -> Answer {
    let mut command = Command::new("/usr/bin/resolvectl");
    command.args(arguments);
    run(&host.namespace, command)
}

/// What systemd-resolved has for `eth0`.
#[track_caller]
fn of_eth0(host: &Host, what: &str) -> String {
    let answer = resolvectl(host, &[what, "eth0"]).success();
    let (_, rest) = answer.out.split_once(':').unwrap_or_else(|| panic!("{answer:?}"));
    rest.trim().to_owned()
}

#[test]
fn has_them_from_acquire_to_release() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let _resolved = or_skip!(Resolved::start(&mut host));
    host.daemon_keys = "resolver = \"resolved\"".into();
    host.start("");
    assert_eq!((of_eth0(&host, "dns"), of_eth0(&host, "domain")), Default::default());

    // Both hold when the command returns, not a moment later.
    host.iph(&["lease", "acquire", "eth0"]).success();
    let resolved = (of_eth0(&host, "dns"), of_eth0(&host, "domain"));
    let lease = host.client("eth0").unwrap();
    let servers: Vec<_> =
        lease["dns"].as_array().unwrap().iter().map(|server| server.as_str().unwrap()).collect();
    assert!(!servers.is_empty(), "{lease}");
    let domain = lease["domain_name"].as_str().unwrap_or_default();
    assert_eq!(resolved, (servers.join(" "), domain.to_owned()));

    host.iph(&["lease", "release", "eth0"]).success();
    assert_eq!((of_eth0(&host, "dns"), of_eth0(&host, "domain")), Default::default());

    // A daemon that ends with a lease leaves them: the lease goes on, and so do they.
    host.iph(&["lease", "acquire", "eth0"]).success();
    host.stop();
    assert_eq!(of_eth0(&host, "dns"), servers.join(" "));
    host.start("");
    host.iph(&["lease", "release", "eth0"]).success();
    assert_eq!(of_eth0(&host, "dns"), "");
    assert_eq!(host.problems(), []);
}
