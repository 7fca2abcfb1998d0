//! The varlink crate, blocking.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iphelper_api::client::{CallError, Client};
use iphelper_api::{lease, service};
use serde_json::{Value, json};
use varlink::{
    CallTrait, Connection, ErrorKind, MethodCall, OrgVarlinkServiceClient,
    OrgVarlinkServiceInterface,
};

use crate::leased;
use crate::support::{DEADLINE, Server, bound, event, until};

type Their = MethodCall<Value, Value, varlink::Error>;

#[test]
fn its_client_asks_our_server() {
    let server = Server::start();
    let address = format!("unix:{}", server.path().display());
    let connection = Connection::with_address(&address).unwrap();

    let mut introspection = OrgVarlinkServiceClient::new(connection.clone());
    let info = introspection.get_info().unwrap();
    assert_eq!(info.product, "iphelperd");
    let described = introspection.get_interface_description(lease::INTERFACE).unwrap();
    assert_eq!(described.description.as_deref(), Some(lease::IDL));
    match introspection.get_interface_description("org.example").unwrap_err().kind() {
        ErrorKind::InterfaceNotFound(interface) => assert_eq!(interface, "org.example"),
        other => panic!("{other:?}"),
    }

    let call = |method: &str, parameters: Value| {
        Their::new(connection.clone(), format!("org.iphelper.Lease.{method}"), parameters)
    };
    let renewed = call("Renew", json!({ "interface": "eth0" })).call().unwrap();
    assert_eq!(renewed["via"], "unicast");
    assert_eq!(renewed["lease"]["bindings"][0]["expires_at"], "2027-01-15T09:00:00.000Z");
    let refused = call("Renew", json!({ "interface": "wlan0" })).call().unwrap_err();
    match refused.kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            assert_eq!(reply.error.as_deref(), Some("org.iphelper.Lease.Refused"));
            assert_eq!(reply.parameters.as_ref().unwrap()["message"], "wrong network");
        }
        other => panic!("{other:?}"),
    }
    match call("Renew", json!({ "interface": 5 })).call().unwrap_err().kind() {
        ErrorKind::InvalidParameter(parameter) => assert_eq!(parameter, "interface"),
        other => panic!("{other:?}"),
    }

    let mut list = call("List", json!({}));
    let names: Vec<Value> = list
        .more()
        .unwrap()
        .flat_map(|part| part.unwrap()["leases"].as_array().unwrap().clone())
        .map(|lease| lease["interface"].clone())
        .collect();
    assert_eq!(names, ["eth0", "eth1", "wlan0"]);

    let mut events = call("Monitor", json!({ "interface": "eth0" }));
    let events = events.more().unwrap();
    assert_eq!(events.next().unwrap().unwrap()["event"]["kind"], "state");
    server.canned.publish(event(lease::EventKind::Conflict, bound("eth0", 2)));
    assert_eq!(events.next().unwrap().unwrap()["event"]["kind"], "conflict");
}

/// A service of theirs.
struct Theirs;

impl varlink::Interface for Theirs {
    fn get_description(&self) -> &'static str {
        lease::IDL
    }

    fn get_name(&self) -> &'static str {
        lease::INTERFACE
    }

    fn call_upgraded(
        &self,
        _call: &mut varlink::Call<'_>,
        _reader: &mut dyn BufRead,
    ) -> varlink::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn call(&self, call: &mut varlink::Call<'_>) -> varlink::Result<()> {
        let request = call.get_request().unwrap();
        match (request.method.as_ref(), call.wants_more()) {
            ("org.iphelper.Lease.List", true) => {
                for index in 0..3 {
                    call.set_continues(index < 2);
                    let listed = json!({ "leases": [leased(&format!("eth{index}"), index)] });
                    call.reply_struct(varlink::Reply::parameters(Some(listed)))?;
                }
                Ok(())
            }
            ("org.iphelper.Lease.Release", false) => call.reply_struct(varlink::Reply::error(
                "org.iphelper.Lease.NotLeased",
                Some(json!({ "interface": "eth0" })),
            )),
            (method, _) => {
                let method = method.to_owned();
                call.reply_method_not_found(method)
            }
        }
    }
}

#[test]
fn our_client_asks_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = format!("unix:{}", path.display());
    let service = varlink::VarlinkService::new("Test", "Theirs", "1", "", vec![Box::new(Theirs)]);
    let stop = Arc::new(AtomicBool::new(false));
    let config = varlink::ListenConfig { stop_listening: Some(stop.clone()), ..Default::default() };
    let listening = std::thread::spawn(move || varlink::listen(service, &address, &config));

    until("it listens", || path.exists() && Client::connect(&path, None).is_ok());
    let mut client = Client::connect(&path, Some(DEADLINE)).unwrap();
    assert_eq!(client.call(&service::GetInfo {}).unwrap().product, "Theirs");
    let asked = service::GetInterfaceDescription { interface: lease::INTERFACE.into() };
    assert_eq!(client.call(&asked).unwrap().description, lease::IDL);
    assert_eq!(client.list(&lease::List::default()).unwrap().len(), 3);
    let release = lease::Release { interface: "eth0".into(), ..Default::default() };
    match client.call(&release).unwrap_err() {
        CallError::Method(lease::Error::NotLeased { interface }) => assert_eq!(interface, "eth0"),
        other => panic!("{other:?}"),
    }
    match client.call(&iphelper_api::daemon::Counters::default()).unwrap_err() {
        CallError::Client(iphelper_api::client::Error::Service(
            service::Error::InterfaceNotFound { interface },
        )) => assert_eq!(interface, "org.iphelper.Daemon"),
        other => panic!("{other:?}"),
    }

    drop(client);
    stop.store(true, Ordering::SeqCst);
    listening.join().unwrap().unwrap();
}
