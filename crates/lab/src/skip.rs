/// The value of a [`Result`](crate::Result), or the visible end of a test that cannot run here.
///
/// For [`Error::Unavailable`](crate::Error::Unavailable) it prints `SKIPPED: TEST: REASON` on the
/// error output, which `cargo xtask test` counts, and returns from the test; any other error
/// panics.
///
/// ```
/// fn a_test() {
///     let lan = iphelper_lab::or_skip!(iphelper_lab::Lan::new());
/// }
/// # a_test();
/// ```
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err($crate::Error::Unavailable(reason)) => {
                fn here() {}
                let name = std::any::type_name_of_val(&here);
                let test = name.rsplit("::").nth(1).unwrap_or(name);
                eprintln!("SKIPPED: {test}: {reason}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    };
}
