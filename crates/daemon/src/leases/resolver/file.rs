use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use engine::Refused;

use super::{Backend, Servers};
use crate::refusal::refused;

/// A resolv.conf(5) of ours, made of what all interfaces bring: those of the smallest metric first.
///
/// It does nothing by itself: /etc/resolv.conf may be a link to it, or a resolver may read it.
#[derive(Debug)]
pub(crate) struct ResolvConf {
    path: PathBuf,
    interfaces: BTreeMap<String, Servers>,
    /// Whether they are others than when the file was written.
    has_changed: bool,
    /// What the file says, if it was written.
    written: Option<String>,
}

impl ResolvConf {
    /// A file that is written when there is something to write.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, interfaces: BTreeMap::new(), has_changed: false, written: None }
    }

    /// Replaces the file as a whole, so that nobody reads half of it.
    fn write(&self, text: &str) -> Result<(), Refused> {
        let new = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = File::create(&new)?;
            // Whoever looks names up reads it, whatever the daemon's files are otherwise.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.write_all(text.as_bytes())?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| refused(self.path.display(), &error))
    }

    fn text(&self) -> String {
        let mut interfaces: Vec<&Servers> = self.interfaces.values().collect();
        interfaces.sort_by(|a, b| (a.metric, &a.interface).cmp(&(b.metric, &b.interface)));

        let mut text = String::from("# Written by iphelperd from the leases there are.\n");
        let mut search: Vec<&str> = Vec::new();
        for name in interfaces.iter().flat_map(|servers| &servers.search) {
            if !search.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                search.push(name);
            }
        }
        if !search.is_empty() {
            text.push_str(&format!("search {}\n", search.join(" ")));
        }
        let mut known = Vec::new();
        for servers in interfaces {
            for server in &servers.servers {
                if !known.contains(server) {
                    known.push(*server);
                    text.push_str(&format!("nameserver {server}\n"));
                }
            }
        }
        text
    }
}

impl Backend for ResolvConf {
    fn set(&mut self, servers: &Servers) -> Result<(), Refused> {
        self.interfaces.insert(servers.interface.clone(), servers.clone());
        self.has_changed = true;
        Ok(())
    }

    fn clear(&mut self, interface: &str) -> Result<(), Refused> {
        // Also without an entry: an earlier daemon may have left the file.
        self.has_changed |= self.interfaces.remove(interface).is_some() || self.path.exists();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refused> {
        if !std::mem::take(&mut self.has_changed) {
            return Ok(());
        }
        let text = self.text();
        // Many interfaces may bring the same servers; somebody else may have removed the file.
        if self.written.as_ref() == Some(&text) && self.path.exists() {
            return Ok(());
        }
        self.written = None;
        self.write(&text)?;
        self.written = Some(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::testing::Folder;

    fn servers(interface: &str, metric: u32, last: u8, search: &[&str]) -> Servers {
        Servers {
            interface: interface.into(),
            metric,
            servers: [last, 9].map(|last| Ipv4Addr::new(10, 0, 0, last).into()).to_vec(),
            search: search.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn interfaces_stand_in_the_order_of_their_metrics() {
        let folder = Folder::new("resolv");
        let path = folder.path().join("run/resolv.conf");
        let mut file = ResolvConf::new(path.clone());
        file.set(&servers("eth1", 200, 2, &["b", "a"])).unwrap();
        file.set(&servers("eth0", 100, 1, &["a"])).unwrap();
        file.commit().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.ends_with(
                "search a b\nnameserver 10.0.0.1\nnameserver 10.0.0.9\nnameserver 10.0.0.2\n"
            ),
            "{text}"
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "for everybody to read, as it is made anew");
        file.clear("eth0").unwrap();
        file.commit().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("search b a\nnameserver 10.0.0.2\nnameserver 10.0.0.9\n"), "{text}");
        file.clear("eth1").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn nothing_to_clear_makes_no_file_and_a_bad_place_is_told() {
        let folder = Folder::new("resolv");
        let path = folder.path().join("resolv.conf");
        let mut file = ResolvConf::new(path.clone());
        file.clear("eth0").unwrap();
        file.commit().unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        let mut file = ResolvConf::new(path.join("x"));
        file.set(&servers("eth0", 1, 1, &[])).unwrap();
        let error = file.commit().unwrap_err().text;
        assert!(error.contains("resolv.conf/x"), "{error}");
    }

    #[test]
    fn the_same_text_is_written_once_as_long_as_it_is_there() {
        let folder = Folder::new("resolv");
        let path = folder.path().join("resolv.conf");
        let mut file = ResolvConf::new(path.clone());
        file.set(&servers("eth0", 1, 1, &[])).unwrap();
        file.commit().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        file.set(&servers("eth1", 1, 1, &[])).unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        fs::remove_file(&path).unwrap();
        file.set(&servers("eth2", 1, 1, &[])).unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
