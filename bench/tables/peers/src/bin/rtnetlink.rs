//! Links and addresses by the rtnetlink crate.
use futures_util::TryStreamExt;

fn main() {
    let begin = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let (links, addresses) = runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let links: Vec<_> = handle.link().get().execute().try_collect().await.unwrap();
        let addresses: Vec<_> = handle.address().get().execute().try_collect().await.unwrap();
        (links.len(), addresses.len())
    });
    println!("{} {links} {addresses}", begin.elapsed().as_nanos());
}
