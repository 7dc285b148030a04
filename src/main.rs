//! The `backstop` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstop::sys::http::install_crypto_provider();
    backstop::cli::main()
}
