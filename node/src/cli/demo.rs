//! `demo`.
use super::output::Answer;
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) async fn run(_arguments: &Arguments) -> anyhow::Result<Answer> {
    Ok(Answer::True)
}
