//! The zlink crate.

use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use iphelper_api::client::{CallError, Client};
use iphelper_api::{lease, service};
use serde::{Deserialize, Serialize};
use zlink::varlink_service::Proxy as _;

use crate::support::{DEADLINE, Server, bound, event};
use crate::{Leased, leased};

#[derive(Clone, Debug, Serialize, Deserialize, zlink::introspect::Type)]
struct Listed {
    leases: Vec<Leased>,
}

#[derive(Debug, Deserialize)]
struct Renewed {
    lease: Leased,
    via: String,
}

#[derive(Debug, Deserialize)]
struct Monitored {
    event: Happened,
}

#[derive(Debug, Deserialize)]
struct Happened {
    kind: String,
    interface: Option<String>,
    lease: Option<Leased>,
}

#[derive(Debug, PartialEq, zlink::ReplyError, zlink::introspect::ReplyError)]
#[zlink(interface = "org.iphelper.Lease")]
enum Failure {
    NoAnswer { interface: String, waited: f64, tries: i64 },
    NotManaged { interface: String, holder: Option<String> },
}

#[zlink::proxy("org.iphelper.Lease")]
trait LeaseProxy {
    async fn renew(&mut self, interface: &str) -> zlink::Result<Result<Renewed, Failure>>;

    #[zlink(rename = "List")]
    async fn list_at_once(
        &mut self,
        interface: Option<&str>,
    ) -> zlink::Result<Result<Listed, Failure>>;

    #[zlink(more, rename = "List")]
    async fn list(
        &mut self,
        interface: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Listed, Failure>>>>;

    #[zlink(more)]
    async fn monitor(
        &mut self,
        interface: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Monitored, Failure>>>>;
}

#[tokio::test]
async fn its_client_asks_our_server() {
    let server = Server::start();
    let mut connection = zlink::tokio::unix::connect(server.path()).await.unwrap();

    let info = connection.get_info().await.unwrap().unwrap();
    assert_eq!(info.product, "iphelperd");
    assert!(info.interfaces.iter().any(|name| *name == lease::INTERFACE));
    let description = connection
        .get_interface_description(lease::INTERFACE.try_into().unwrap())
        .await
        .unwrap()
        .unwrap();
    let described = description.parse().unwrap();
    assert_eq!(described.methods().count(), 6);

    let renewed = connection.renew("eth0").await.unwrap().unwrap();
    assert_eq!((renewed.via.as_str(), renewed.lease.ifindex), ("unicast", 2));
    assert_eq!(renewed.lease.bindings[0].address.as_deref(), Some("192.0.2.102"));
    let failed = connection.renew("eth1").await.unwrap().unwrap_err();
    assert_eq!(failed, Failure::NoAnswer { interface: "eth1".into(), waited: 4.5, tries: 3 });

    let all = connection.list_at_once(None).await.unwrap().unwrap();
    assert_eq!(all.leases.len(), 3);
    let none = connection.list_at_once(Some("ppp*")).await.unwrap().unwrap();
    assert!(none.leases.is_empty());
    {
        let list = connection.list(Some("eth*")).await.unwrap();
        pin_mut!(list);
        let mut names = Vec::new();
        while let Some(listed) = list.next().await {
            let leases = listed.unwrap().unwrap().leases;
            names.extend(leases.into_iter().map(|lease| lease.interface));
        }
        assert_eq!(names, ["eth0", "eth1"]);
    }

    let events = connection.monitor(Some("eth1")).await.unwrap();
    pin_mut!(events);
    let first = events.next().await.unwrap().unwrap().unwrap().event;
    assert_eq!((first.kind.as_str(), first.interface.as_deref()), ("state", Some("eth1")));
    server.canned.publish(event(lease::EventKind::NoAnswer, bound("eth1", 3)));
    let next = events.next().await.unwrap().unwrap().unwrap().event;
    assert_eq!(next.kind, "no-answer");
    assert_eq!(next.lease.unwrap().routes.len(), 2);
}

/// A service of theirs.
struct Theirs;

#[zlink::service(
    interface = "org.iphelper.Lease",
    vendor = "Test",
    product = "Theirs",
    version = "1",
    url = "https://example.org/",
    types = [Leased, crate::Bound, crate::Optional, crate::Routed]
)]
impl Theirs {
    #[zlink(more)]
    async fn list(
        &self,
        more: bool,
        interface: Option<String>,
    ) -> impl Stream<Item = zlink::Reply<Listed>> + Unpin {
        let _ = interface;
        let count = if more { 3 } else { 1 };
        let listed = move |index: i64| {
            zlink::Reply::new(Some(Listed { leases: vec![leased(&format!("eth{index}"), index)] }))
                .set_continues(Some(index + 1 < count))
        };
        futures_util::stream::iter((0..count).map(listed))
    }

    async fn renew(&self, interface: String, timeout: Option<f64>) -> Result<Listed, Failure> {
        let waited = timeout.unwrap_or(30.0);
        Err(Failure::NoAnswer { interface, waited, tries: 5 })
    }
}

#[tokio::test]
async fn our_client_asks_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = zlink::tokio::unix::bind(&path).unwrap();
    let asking = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&path, Some(DEADLINE)).unwrap();
        assert_eq!(client.call(&service::GetInfo {}).unwrap().product, "Theirs");
        let all = client.list(&lease::List::default()).unwrap();
        let names: Vec<&str> = all.iter().map(|lease| lease.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1", "eth2"]);
        assert_eq!(all[0].routes[0].destination.length, 0);
        let renew = lease::Renew {
            interface: "eth0".into(),
            family: None,
            timeout: Some(Duration::from_millis(2500).try_into().unwrap()),
        };
        match client.call(&renew).unwrap_err() {
            CallError::Method(lease::Error::NoAnswer { waited, tries, .. }) => {
                assert_eq!((waited, tries), (2.5, 5));
            }
            other => panic!("{other:?}"),
        }
    });
    tokio::select! {
        ended = zlink::Server::new(listener, Theirs).run() => panic!("{ended:?}"),
        asked = asking => asked.unwrap(),
    }
}
