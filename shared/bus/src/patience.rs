//! Asking a broker that is not there yet, as long as it takes.

use std::future::Future;
use std::time::Duration;

use crate::BusError;

/// Between two tries.
const RETRY: Duration = Duration::from_secs(1);

/// Asks again while the broker does not answer. Anything else that it says is for an operator, such as a stream that
/// differs.
pub async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, BusError>
where
    F: Future<Output = Result<T, BusError>>,
{
    loop {
        match ask().await {
            Err(error @ (BusError::Unavailable(_) | BusError::OutcomeUnknown(_))) => {
                tracing::warn!(%error, "waiting for the broker");
            }
            answer => return answer,
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_again_only_while_there_is_no_answer() {
        let answers = RefCell::new(vec![
            Err(BusError::Forbidden("no".into())),
            Ok(7),
            Err(BusError::OutcomeUnknown("late".into())),
            Err(BusError::Unavailable("away".into())),
        ]);
        let ask = || {
            let answer = answers.borrow_mut().pop().expect("not asked again");
            async move { answer }
        };
        assert_eq!(patiently(ask).await.unwrap(), 7);
        assert!(matches!(patiently(ask).await, Err(BusError::Forbidden(_))));
    }
}
