//! `org.iphelper.Interface`, asked by the zlink and varlink crates.

use futures_util::{Stream, StreamExt, pin_mut};
use iphelper_api::interface;
use serde::Deserialize;
use serde_json::{Value, json};
use varlink::{Connection, ErrorKind, MethodCall, OrgVarlinkServiceInterface as _};
use zlink::varlink_service::Proxy as _;

use crate::support::{Canned, Server, until};

/// A server with 1000 rows of the interfaces' stack.
pub(crate) fn server() -> Server {
    let canned = Canned::default();
    let rows = (0..1000).map(|number| {
        json!({
            "higher_interface": format!("br{}", number % 10), "higher_ifindex": 1,
            "higher_luid": 1_689_399_649_632_256_u64, "lower_interface": format!("eth{number}"),
            "lower_ifindex": number, "lower_luid": number,
        })
    });
    canned.tables.lock().unwrap().insert("Stack".into(), rows.collect());
    Server::with(canned, Default::default())
}

#[derive(Debug, Deserialize)]
struct Rows {
    rows: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    higher_luid: i64,
    lower_interface: String,
}

#[derive(Debug, Deserialize)]
struct Changed {
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Change {
    kind: String,
    table: Option<String>,
    stack: Option<Entry>,
}

#[derive(Debug, zlink::ReplyError)]
#[zlink(interface = "org.iphelper.Interface")]
enum Failure {
    NoSuchInterface { interface: String },
    AccessDenied { needed: String },
}

#[zlink::proxy("org.iphelper.Interface")]
trait Tables {
    #[zlink(more)]
    async fn list_stack(
        &mut self,
        interface: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Rows, Failure>>>>;

    #[zlink(rename = "ListStack")]
    async fn list_stack_once(
        &mut self,
        interface: Option<&str>,
    ) -> zlink::Result<Result<Rows, Failure>>;

    async fn get_interface(&mut self, interface: &str) -> zlink::Result<Result<Value, Failure>>;

    async fn flush_neighbors(&mut self) -> zlink::Result<Result<Value, Failure>>;

    #[zlink(more)]
    async fn monitor(
        &mut self,
        tables: Vec<&str>,
        interface: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Changed, Failure>>>>;
}

#[tokio::test]
async fn zlink_asks_for_tables() {
    let server = server();
    let mut connection = zlink::tokio::unix::connect(server.path()).await.unwrap();
    let description =
        connection.get_interface_description(interface::INTERFACE.try_into().unwrap()).await;
    let description = description.unwrap().unwrap();
    assert_eq!(description.parse().unwrap().methods().count(), 24);
    {
        let parts = connection.list_stack(None).await.unwrap();
        pin_mut!(parts);
        let mut rows = Vec::new();
        while let Some(part) = parts.next().await {
            rows.extend(part.unwrap().unwrap().rows);
        }
        assert_eq!(rows.len(), 1000);
        assert_eq!(rows[999].lower_interface, "eth999");
        assert_eq!(rows[999].higher_luid, 1_689_399_649_632_256);
    }
    match connection.get_interface("ppp0").await.unwrap().unwrap_err() {
        // The canned daemon names the method.
        Failure::NoSuchInterface { interface } => {
            assert_eq!(interface, "org.iphelper.Interface.GetInterface");
        }
        other => panic!("{other:?}"),
    }
    match connection.list_stack_once(None).await.unwrap_err() {
        zlink::Error::VarlinkService(error) => {
            assert!(
                matches!(error.inner(), zlink::varlink_service::Error::ExpectedMore),
                "{error:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    let changes = connection.monitor(vec!["stack"], Some("eth7")).await.unwrap();
    pin_mut!(changes);
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(changes.next().await.unwrap().unwrap().unwrap().changes);
    }
    assert_eq!((told[0].kind.as_str(), told[0].table.as_deref()), ("added", Some("stack")));
    assert_eq!(told[0].stack.as_ref().unwrap().lower_interface, "eth7");
    assert_eq!(told[1].kind, "complete");
}

#[tokio::test]
async fn zlink_is_told_who_may_change_tables() {
    let canned = Canned { may_change: false, ..Canned::default() };
    let server = Server::with(canned, Default::default());
    let mut connection = zlink::tokio::unix::connect(server.path()).await.unwrap();
    match connection.flush_neighbors().await.unwrap().unwrap_err() {
        Failure::AccessDenied { needed } => assert_eq!(needed, "membership of group iphelper"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_varlink_crate_asks_for_tables() {
    let server = server();
    let address = format!("unix:{}", server.path().display());
    let connection = Connection::with_address(&address).unwrap();
    let mut introspection = varlink::OrgVarlinkServiceClient::new(connection.clone());
    let described = introspection.get_interface_description(interface::INTERFACE).unwrap();
    assert_eq!(described.description.as_deref(), Some(interface::IDL));

    let call = |method: &str, parameters: Value| {
        let method = format!("org.iphelper.Interface.{method}");
        MethodCall::<Value, Value, varlink::Error>::new(connection.clone(), method, parameters)
    };
    let mut list = call("ListStack", json!({ "interface": "br3" }));
    let parts: Vec<Value> = list.more().unwrap().map(Result::unwrap).collect();
    assert_eq!(parts[0]["rows"].as_array().unwrap().len(), 100);
    match call("ListStack", json!({})).call().unwrap_err().kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            assert_eq!(reply.error.as_deref(), Some("org.varlink.service.ExpectedMore"));
        }
        other => panic!("{other:?}"),
    }
    match call("GetInterface", json!({ "interface": "ppp0" })).call().unwrap_err().kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            assert_eq!(reply.error.as_deref(), Some("org.iphelper.Interface.NoSuchInterface"));
        }
        other => panic!("{other:?}"),
    }
    match call("GetInterface", json!({ "ifindex": 1 })).call().unwrap_err().kind() {
        ErrorKind::InvalidParameter(parameter) => assert_eq!(parameter, "ifindex"),
        other => panic!("{other:?}"),
    }
    let mut monitor = call("Monitor", json!({ "interface": "eth1" }));
    let changes = monitor.more().unwrap();
    let first = changes.next().unwrap().unwrap();
    assert_eq!(first["changes"][0]["stack"]["lower_interface"], "eth1");
    until("subscribed", || server.canned.changes.lock().unwrap()[0].receiver_count() > 0);
    server.canned.changes.lock().unwrap().clear();
    let ended = changes.find_map(Result::err).unwrap();
    match ended.kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            assert_eq!(reply.error.as_deref(), Some("org.iphelper.Interface.Cancelled"));
        }
        other => panic!("{other:?}"),
    }
}
