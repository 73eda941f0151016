//! `cargo bench-report`: every ratio of one run, as a table.

#[tokio::main]
async fn main() {
    marque_bench::report::run().await;
}
