//! `cargo bench-report [decision|memory|fanout|sink|log|door]…`: every ratio of one run, as a table.

#[tokio::main]
async fn main() {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    marque_bench::report::run(&parts).await;
}
