//! Why a call ended without success.

/// Why a call ended without success. None of these harms the process or another guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guest ended with a status other than 0: the function's own error. Before the head went
    /// out this is an answer, status 500; after it, it cuts the body.
    #[error("exit status {0}")]
    Exited(i32),
    /// The guest trapped: unreachable code, an access out of bounds, a stack overflow, …
    #[error("trapped: {0}")]
    Trapped(String),
    /// The guest asked for more memory than its limit and did not end well.
    #[error("over the memory limit")]
    Memory,
    /// The call's time was over, counted from [`crate::Sandbox::run`].
    #[error("over the deadline")]
    Deadline,
    /// The guest wrote more to standard output than its limit.
    #[error("over the output limit")]
    Output,
    /// The guest's CGI header block is not one; the text says why.
    #[error("malformed header block: {0}")]
    Malformed(String),
    /// The request's body broke off, so that the guest has seen only a part of it.
    #[error("the request's body broke off: {0}")]
    Input(String),
    /// The caller cancelled the call, or dropped it.
    #[error("cancelled")]
    Cancelled,
    /// The sandbox itself could not run the call; the guest has not started. May be tried elsewhere.
    #[error("not started: {0}")]
    NotStarted(String),
}

impl Failure {
    /// Whether the function itself is at fault, so that another host would do no better.
    pub fn is_the_functions_own(&self) -> bool {
        match self {
            Self::Exited(_)
            | Self::Trapped(_)
            | Self::Memory
            | Self::Output
            | Self::Malformed(_) => true,
            Self::Deadline | Self::Input(_) | Self::Cancelled | Self::NotStarted(_) => false,
        }
    }
}
