//! `org.iphelper.PortReservation`, asked by the zlink and varlink crates.

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use futures_util::{Stream, StreamExt, pin_mut};
use iphelper_api::ports;
use serde::Deserialize;
use serde_json::{Value, json};
use varlink::{Connection, ErrorKind, MethodCall, OrgVarlinkServiceInterface as _};
use zlink::varlink_service::Proxy as _;

use crate::support::ports::denial;
use crate::support::{Server, until};

/// What a client written elsewhere may know of a reservation.
#[derive(Debug, Deserialize)]
struct Reserved {
    id: String,
    protocol: Protocol,
    start_port: i64,
    number_of_ports: i64,
    token: Option<String>,
    owner: Owner,
    users: Vec<i64>,
    expires_at: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Deserialize)]
struct Owner {
    uid: i64,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Told {
    reservation: Reserved,
}

#[derive(Debug, Deserialize)]
struct Listed {
    reservations: Vec<Reserved>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    denial: Refusal,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    port: i64,
    suppressed: i64,
}

#[derive(Debug, zlink::ReplyError)]
#[zlink(interface = "org.iphelper.PortReservation")]
enum Failure {
    SharingViolation { port: i64, reservation: Option<Value> },
    NotFound,
    InvalidToken,
    InvalidParameter { parameter: String, reason: String },
}

#[zlink::proxy("org.iphelper.PortReservation")]
trait Ports {
    async fn create(
        &mut self,
        protocol: Protocol,
        start_port: i64,
        number_of_ports: i64,
    ) -> zlink::Result<Result<Told, Failure>>;

    async fn lookup(
        &mut self,
        protocol: Protocol,
        start_port: i64,
        number_of_ports: i64,
    ) -> zlink::Result<Result<Told, Failure>>;

    async fn associate(
        &mut self,
        token: &str,
        socket: i64,
        #[zlink(fds)] sockets: Vec<OwnedFd>,
    ) -> zlink::Result<Result<Told, Failure>>;

    #[zlink(more)]
    async fn list(
        &mut self,
        protocol: Option<Protocol>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Listed, Failure>>>>;

    #[zlink(more)]
    async fn denials(
        &mut self,
        recent: i64,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Refused, Failure>>>>;
}

#[tokio::test]
async fn zlink_asks_for_reservations() {
    let server = Server::start();
    let mut connection = zlink::tokio::unix::connect(server.path()).await.unwrap();
    let description =
        connection.get_interface_description(ports::INTERFACE.try_into().unwrap()).await;
    let description = description.unwrap().unwrap();
    assert_eq!(description.parse().unwrap().methods().count(), 13);

    let found = connection.lookup(Protocol::Tcp, 5000, 20).await.unwrap().unwrap().reservation;
    assert_eq!((found.id.as_str(), found.token.as_deref()), ("7", Some("7000000")));
    assert_eq!((found.owner.uid, found.owner.user.as_deref()), (1000, Some("sam")));
    assert_eq!((found.start_port, found.number_of_ports, found.users), (5000, 20, vec![1000]));
    let none = connection.lookup(Protocol::Tcp, 5000, 19).await.unwrap().unwrap_err();
    assert!(matches!(none, Failure::NotFound), "{none:?}");
    match connection.create(Protocol::Tcp, 5000, 1).await.unwrap().unwrap_err() {
        Failure::SharingViolation { port: 5000, reservation: Some(in_the_way) } => {
            assert_eq!(in_the_way["purpose"], "web");
        }
        other => panic!("{other:?}"),
    }
    match connection.create(Protocol::Udp, 0, 1).await.unwrap().unwrap_err() {
        Failure::InvalidParameter { parameter, reason } => {
            assert_eq!((parameter.as_str(), reason.as_str()), ("start_port", "0 is no port"));
        }
        other => panic!("{other:?}"),
    }
    {
        let list = connection.list(Some(Protocol::Udp)).await.unwrap();
        pin_mut!(list);
        let mut listed = list.next().await.unwrap().unwrap().unwrap().reservations;
        let udp = listed.pop().unwrap();
        assert!(listed.is_empty());
        assert_eq!((udp.protocol, udp.expires_at), (Protocol::Udp, None));
        assert!(list.next().await.is_none());
    }
    let denials = connection.denials(1).await.unwrap();
    pin_mut!(denials);
    assert_eq!(denials.next().await.unwrap().unwrap().unwrap().denial.port, 5002);
    server.canned.ports.deny(denial(5019));
    let next = denials.next().await.unwrap().unwrap().unwrap().denial;
    assert_eq!((next.port, next.suppressed), (5019, 0));
}

#[tokio::test]
async fn zlink_passes_sockets() {
    let server = Server::start();
    let mut connection = zlink::tokio::unix::connect(server.path()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let name = std::fs::read_link(link).unwrap().display().to_string();
    let copy = || socket.as_fd().try_clone_to_owned().unwrap();
    let other = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let associated = connection.associate("7000000", 1, vec![other(), copy()]).await;
    assert_eq!(associated.unwrap().unwrap().reservation.start_port, 5000);
    let wrong = connection.associate("1", 0, vec![copy()]).await.unwrap().unwrap_err();
    assert!(matches!(wrong, Failure::InvalidToken), "{wrong:?}");
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), [name.clone(), name]);
}

#[test]
fn the_varlink_crate_asks_for_reservations() {
    let server = Server::start();
    let address = format!("unix:{}", server.path().display());
    let connection = Connection::with_address(&address).unwrap();
    let mut introspection = varlink::OrgVarlinkServiceClient::new(connection.clone());
    let described = introspection.get_interface_description(ports::INTERFACE).unwrap();
    assert_eq!(described.description.as_deref(), Some(ports::IDL));

    let call = |method: &str, parameters: Value| {
        let method = format!("org.iphelper.PortReservation.{method}");
        MethodCall::<Value, Value, varlink::Error>::new(connection.clone(), method, parameters)
    };
    let block = json!({ "protocol": "tcp", "start_port": 5000, "number_of_ports": 20 });
    let found = call("Lookup", block.clone()).call().unwrap();
    assert_eq!(found["reservation"]["created_at"], "2027-01-15T08:00:00.000Z");
    match call("Create", block).call().unwrap_err().kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            let name = reply.error.as_deref();
            assert_eq!(name, Some("org.iphelper.PortReservation.SharingViolation"));
            assert_eq!(reply.parameters.as_ref().unwrap()["reservation"]["start_port"], 5000);
        }
        other => panic!("{other:?}"),
    }
    let wrong = json!({ "protocol": "sctp", "start_port": 1, "number_of_ports": 1 });
    match call("Lookup", wrong).call().unwrap_err().kind() {
        ErrorKind::InvalidParameter(parameter) => assert_eq!(parameter, "protocol"),
        other => panic!("{other:?}"),
    }
    let listed = call("Holders", json!({})).call().unwrap();
    let holders = listed["holders"].as_array().unwrap();
    let ports: Vec<Value> = holders.iter().map(|holder| holder["port"].clone()).collect();
    assert_eq!(ports, [5001, 8080]);

    let mut events = call("Monitor", json!({}));
    let events = events.more().unwrap();
    for _ in 0..2 {
        assert_eq!(events.next().unwrap().unwrap()["event"]["kind"], "state");
    }
    until("subscribed", || server.canned.ports.subscribers() > 0);
    server.canned.ports.end_subscriptions();
    match events.next().unwrap().unwrap_err().kind() {
        ErrorKind::VarlinkErrorReply(reply) => {
            let name = reply.error.as_deref();
            assert_eq!(name, Some("org.iphelper.PortReservation.Cancelled"));
        }
        other => panic!("{other:?}"),
    }
}
