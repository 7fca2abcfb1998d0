//! A plain server of the varlink crate: `GetInfo` and a `Status` as small as iphelperd's. It has a
//! thread for each connection, of which it allows 100 unless told otherwise.

use std::error::Error;
use std::io::BufRead;

use serde_json::json;
use varlink::CallTrait as _;

struct Daemon;

impl varlink::Interface for Daemon {
    fn get_description(&self) -> &'static str {
        "interface org.iphelper.Daemon\nmethod Status() -> (version: string)\n"
    }

    fn get_name(&self) -> &'static str {
        "org.iphelper.Daemon"
    }

    fn call_upgraded(
        &self,
        _: &mut varlink::Call<'_>,
        _: &mut dyn BufRead,
    ) -> varlink::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn call(&self, call: &mut varlink::Call<'_>) -> varlink::Result<()> {
        let method = call.get_request().map(|request| request.method.clone().into_owned());
        match method.as_deref() {
            Some("org.iphelper.Daemon.Status") => {
                let status = json!({
                    "version": "0.1.0",
                    "pid": std::process::id(),
                    "since": "2026-11-21T11:58:00.000Z",
                    "config_file": "/etc/iphelper/iphelper.toml",
                    "state_dir": "/var/lib/iphelper",
                    "resolver": "none",
                    "interfaces": 1,
                    "leases": 1,
                    "problems": [],
                });
                call.reply_struct(varlink::Reply::parameters(Some(status)))
            }
            other => {
                let other = other.unwrap_or_default().to_owned();
                call.reply_method_not_found(other)
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: varlink SOCKET")?;
    let service = varlink::VarlinkService::new(
        "Bench",
        "varlink",
        "1",
        "https://example.org",
        vec![Box::new(Daemon)],
    );
    println!("ready");
    varlink::listen(service, &format!("unix:{path}"), &varlink::ListenConfig::default())?;
    Ok(())
}
