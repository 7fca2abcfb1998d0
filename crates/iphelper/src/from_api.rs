/// Makes a type of this crate from one of the API that has the same fields.
///
/// A field stands alone where its type is the same, with `: into` where it is converted, and with
/// `: each` where what is in it is. One that the API gains is not forgotten: it does not compile.
macro_rules! from_api {
    (@ $value:ident) => { $value };
    (@ $value:ident into) => { $value.into() };
    (@ $value:ident each) => { $value.map(Into::into) };
    ($api:ty => $own:ident { $($field:ident $(: $how:ident)?),* $(,)? }) => {
        impl From<$api> for $own {
            fn from(told: $api) -> Self {
                type Told = $api;
                let Told { $($field),* } = told;
                Self { $($field: $crate::from_api::from_api!(@ $field $($how)?)),* }
            }
        }
    };
}

pub(crate) use from_api;
