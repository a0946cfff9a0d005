//! How far a flow of records is, on standard error.

use super::flow::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use tokio::sync::watch;

/// Lines that a whole flow takes where there is no terminal.
const LINES: usize = 6;

/// A bar on a terminal, lines elsewhere.
#[derive(Clone)]
pub(crate) struct Display {
    bar: ProgressBar,
    without_terminal: WithoutTerminal,
}

/// What to do where there is no terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutTerminal {
    /// A line now and then.
    Lines,
    /// Nothing.
    Silence,
}

impl Display {
    pub(crate) fn new(count: usize, without_terminal: WithoutTerminal) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        let style = "{elapsed_precise} {wide_bar} {pos}/{len} final{msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        Self { bar, without_terminal }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            self.bar.suspend(|| eprintln!("{text}"));
        } else if self.without_terminal == WithoutTerminal::Lines {
            eprintln!("{text}");
        }
    }

    /// Follows a flow until it ends.
    pub(crate) async fn follow(self, mut progress: watch::Receiver<Progress>) {
        let count = usize::try_from(self.bar.length().unwrap_or(0)).unwrap_or(usize::MAX);
        let step = count.div_ceil(LINES).max(1);
        let mut next_line = step;
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            self.bar.set_position(now.finals as u64);
            let failed = now.refused + now.rejected;
            self.bar.set_message(match failed {
                0 => format!(", {} sent", now.sent),
                _ => format!(", {} sent, {failed} not taken", now.sent),
            });
            if now.finals >= next_line && !std::io::stderr().is_terminal() {
                self.say(&format!("  {} of {count} records are final", now.finals));
                next_line = (now.finals / step + 1) * step;
            }
        }
        self.bar.finish_and_clear();
    }
}
