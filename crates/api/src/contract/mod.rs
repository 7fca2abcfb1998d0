//! The Rust types against the IDL: fields, which of them may be absent, methods, errors.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use zlink::idl::{Field, Interface, Type};

use crate::{Empty, Method, Time, Timeout, daemon, service};

mod lease;
mod ports;
mod tables;

fn interface(idl: &'static str) -> Interface<'static> {
    idl.try_into().expect("the IDL parses")
}

/// Checks that an object has the fields the IDL says and no other, each of its type, and that the
/// Rust type requires just those that are not nullable. `sample` has every field.
fn check_object<T: Serialize + DeserializeOwned>(
    idl: &Interface<'_>,
    what: &str,
    fields: &[&Field<'_>],
    sample: &T,
) {
    let json = serde_json::to_value(sample).unwrap();
    check_fields(idl, what, fields, &json);
    check_absence::<T>(what, fields, &json, |object| object);
}

fn check_fields(idl: &Interface<'_>, what: &str, fields: &[&Field<'_>], json: &Value) {
    let object = json.as_object().unwrap_or_else(|| panic!("{what} is no object: {json}"));
    let described: BTreeSet<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let present: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(present, described, "fields of {what}");
    for field in fields {
        let name = field.name().as_str();
        check_value(idl, &format!("{what}.{name}"), field.ty(), &object[name]);
    }
}

/// Leaves each field out in turn: `rebuild` puts the rest where `T` expects it.
fn check_absence<T: DeserializeOwned>(
    what: &str,
    fields: &[&Field<'_>],
    json: &Value,
    rebuild: impl Fn(Value) -> Value,
) {
    for field in fields {
        let name = field.name().as_str();
        let mut without: Map<String, Value> = json.as_object().unwrap().clone();
        without.remove(name);
        let parsed = serde_json::from_value::<T>(rebuild(Value::Object(without.clone())));
        let nullable = matches!(field.ty(), Type::Optional(_));
        assert_eq!(parsed.is_ok(), nullable, "{what} without {name}");
        without.insert(name.to_owned(), Value::Null);
        let parsed = serde_json::from_value::<T>(rebuild(Value::Object(without)));
        assert_eq!(parsed.is_ok(), nullable, "{what} with {name} null");
    }
}

fn check_value(idl: &Interface<'_>, what: &str, ty: &Type<'_>, json: &Value) {
    match ty {
        Type::Bool => assert!(json.is_boolean(), "{what}: {json}"),
        Type::Int => assert!(json.is_i64() || json.is_u64(), "{what}: {json}"),
        Type::Float => assert!(json.is_number(), "{what}: {json}"),
        Type::String => assert!(json.is_string(), "{what}: {json}"),
        Type::Optional(inner) => check_value(idl, what, inner.inner(), json),
        Type::Array(inner) => {
            let elements = json.as_array().unwrap_or_else(|| panic!("{what}: {json}"));
            assert!(!elements.is_empty(), "{what} needs a sample");
            for element in elements {
                check_value(idl, what, inner.inner(), element);
            }
        }
        Type::Custom(name) => {
            let found = idl.custom_types().find(|custom| custom.name() == name);
            let custom = found.unwrap_or_else(|| panic!("{what}: no type {name:?}"));
            match (custom.as_object(), custom.as_enum()) {
                (Some(object), _) => {
                    let fields: Vec<&Field<'_>> = object.fields().collect();
                    // Nullable fields of nested objects may be absent from the sample.
                    let present = json.as_object().unwrap();
                    let fields: Vec<&Field<'_>> = fields
                        .into_iter()
                        .filter(|field| {
                            !matches!(field.ty(), Type::Optional(_))
                                || present.contains_key(field.name().as_str())
                        })
                        .collect();
                    check_fields(idl, what, &fields, json);
                }
                (None, Some(variants)) => {
                    let known = variants.variants().any(|variant| json == variant.name().as_str());
                    assert!(known, "{what}: {json}");
                }
                (None, None) => panic!("{what}: neither object nor enum"),
            }
        }
        Type::Map(inner) => {
            let values = json.as_object().unwrap_or_else(|| panic!("{what}: {json}"));
            assert!(!values.is_empty(), "{what} needs a sample");
            values.values().for_each(|value| check_value(idl, what, inner.inner(), value));
        }
        other => panic!("{what}: the check does not know {other:?}"),
    }
}

fn check_type<T: Serialize + DeserializeOwned>(idl: &Interface<'_>, name: &str, sample: &T) {
    let custom = idl.custom_types().find(|custom| custom.name().as_str() == name).unwrap();
    let fields: Vec<_> = custom.as_object().unwrap().fields().collect();
    check_object(idl, name, &fields, sample);
}

fn check_enum<T>(idl: &Interface<'_>, name: &str, values: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let custom = idl.custom_types().find(|custom| custom.name().as_str() == name).unwrap();
    let described: Vec<String> = custom
        .as_enum()
        .unwrap()
        .variants()
        .map(|variant| variant.name().as_str().to_owned())
        .collect();
    let ours: Vec<Value> = values.iter().map(|v| serde_json::to_value(v).unwrap()).collect();
    assert_eq!(ours, described, "values of {name}");
    for (json, value) in ours.into_iter().zip(values) {
        assert_eq!(serde_json::from_value::<T>(json).unwrap(), *value);
    }
}

fn check_method<M: Method>(idl: &Interface<'_>, parameters: &M, reply: &M::Reply) {
    let (interface, name) = M::NAME.rsplit_once('.').unwrap();
    assert_eq!(interface, idl.name().as_str());
    let method = idl.methods().find(|method| method.name().as_str() == name);
    let method = method.unwrap_or_else(|| panic!("no method {name}"));
    let (inputs, outputs): (Vec<_>, Vec<_>) =
        (method.inputs().collect(), method.outputs().collect());
    check_object(idl, &format!("{name}()"), &inputs, parameters);
    check_object(idl, &format!("{name}() ->"), &outputs, reply);

    let mut unknown = serde_json::to_value(parameters).unwrap();
    unknown["not_described"] = true.into();
    assert!(serde_json::from_value::<M>(unknown).is_err(), "{name} takes what is not described");
}

fn check_methods(idl: &Interface<'_>, checked: &[&str]) {
    let described: BTreeSet<String> =
        idl.methods().map(|method| format!("{}.{}", idl.name(), method.name())).collect();
    let checked: BTreeSet<String> = checked.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(checked, described, "methods of {}", idl.name());
}

fn check_errors<E>(idl: &Interface<'_>, samples: &[E])
where
    E: Serialize + DeserializeOwned + std::error::Error,
{
    let described: BTreeSet<String> =
        idl.errors().map(|error| format!("{}.{}", idl.name(), error.name())).collect();
    let mut ours = BTreeSet::new();
    for sample in samples {
        let json = serde_json::to_value(sample).unwrap();
        let name = json["error"].as_str().unwrap().to_owned();
        let error = idl.errors().find(|error| name.ends_with(&format!(".{}", error.name())));
        let error = error.unwrap_or_else(|| panic!("no error {name}"));
        let fields: Vec<_> = error.fields().collect();
        let message = sample.to_string();
        assert!(!message.is_empty() && !message.ends_with('.'), "{message}");
        ours.insert(name.clone());
        if fields.is_empty() {
            // Left out, because zlink takes no empty object there.
            assert_eq!(json, serde_json::json!({ "error": name }));
            continue;
        }
        check_fields(idl, &name, &fields, &json["parameters"]);
        check_absence::<E>(
            &name,
            &fields,
            &json["parameters"],
            |parameters| serde_json::json!({ "error": name, "parameters": parameters }),
        );
    }
    assert_eq!(ours, described, "errors of {}", idl.name());
}

fn address() -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 1).into()
}

fn time() -> Time {
    (UNIX_EPOCH + Duration::from_secs(1_800_000_000)).into()
}

fn timeout() -> Option<Timeout> {
    Some(Timeout::DEFAULT)
}

#[test]
fn daemon_is_that_of_the_idl() {
    use daemon::*;

    let idl = interface(IDL);
    let mut problem = Problem::new(time(), ProblemKind::StoreUnwritable, "store", "It is full.");
    problem.interface = Some("eth0".into());
    problem.reservation = Some(7.into());
    let mut counter = Counter::new("dhcp_sent", CounterKind::Counter, 1);
    counter.labels.insert("type".into(), "discover".into());
    for kind in ProblemKind::KNOWN {
        assert!(IDL.contains(&format!("\n  #   {:<24} ", kind.as_str())), "{kind}");
    }
    for kind in CounterKind::KNOWN {
        assert!(IDL.contains(&format!("\"{kind}\"")), "{kind}");
    }
    check_type(&idl, "Problem", &problem);
    check_type(&idl, "Counter", &counter);
    assert_eq!(idl.custom_types().count(), 2);
    let status = StatusReply {
        version: "0.1.0".into(),
        pid: 1,
        since: time(),
        config_file: "/etc/iphelper/iphelper.toml".into(),
        state_dir: "/var/lib/iphelper".into(),
        resolver: "none".into(),
        interfaces: 1,
        leases: 1,
        problems: vec![problem],
    };
    check_method(&idl, &Status {}, &status);
    let counters = Counters { per_interface: Some(true) };
    check_method(&idl, &counters, &CountersReply { counters: vec![counter] });
    check_method(&idl, &Reload {}, &Empty {});
    check_methods(&idl, &[Status::NAME, Counters::NAME, Reload::NAME]);
    let invalid = Error::InvalidConfiguration {
        file: "/etc/iphelper/iphelper.toml".into(),
        line: Some(3),
        column: Some(1),
        message: "unknown key `colour`".into(),
        hint: Some("did you mean `color`?".into()),
    };
    let exceeded =
        Error::LimitExceeded { resource: "connections".into(), allowed: 64, per_user: true };
    let denied = Error::AccessDenied { needed: "uid 0".into() };
    check_errors(&idl, &[invalid, denied, exceeded, Error::Cancelled]);
}

#[test]
fn service_is_that_of_the_idl() {
    use service::*;

    let idl = interface(IDL);
    let info = GetInfoReply {
        vendor: "iphelper".into(),
        product: "iphelperd".into(),
        version: "0.1.0".into(),
        url: "https://example.org/".into(),
        interfaces: vec![INTERFACE.into()],
    };
    check_method(&idl, &GetInfo {}, &info);
    check_method(
        &idl,
        &GetInterfaceDescription { interface: INTERFACE.into() },
        &GetInterfaceDescriptionReply { description: IDL.into() },
    );
    check_methods(&idl, &[GetInfo::NAME, GetInterfaceDescription::NAME]);
    let samples = [
        Error::InterfaceNotFound { interface: "org.example".into() },
        Error::MethodNotFound { method: "org.example.Foo".into() },
        Error::MethodNotImplemented { method: "org.example.Foo".into() },
        Error::InvalidParameter { parameter: "timeout".into() },
        Error::PermissionDenied,
        Error::ExpectedMore,
    ];
    check_errors(&idl, &samples);
}

/// A variant added to an enum fails to compile here until the samples above have it.
#[expect(dead_code, reason = "compiled, not run")]
fn samples_are_complete(daemon_error: daemon::Error, service_error: service::Error) {
    match daemon_error {
        daemon::Error::InvalidConfiguration { .. }
        | daemon::Error::AccessDenied { .. }
        | daemon::Error::LimitExceeded { .. }
        | daemon::Error::Cancelled => {}
    }
    match service_error {
        service::Error::InterfaceNotFound { .. }
        | service::Error::MethodNotFound { .. }
        | service::Error::MethodNotImplemented { .. }
        | service::Error::InvalidParameter { .. }
        | service::Error::PermissionDenied
        | service::Error::ExpectedMore => {}
    }
}
