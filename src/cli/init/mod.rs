//! `backstop init`: looks at this host and writes a first configuration.
//!
//! Asks nobody, overwrites nothing, and writes one file or to standard output. What is written was read by the loader
//! before; it holds what runs now, each guess with a comment. Standard error says what was looked at and what could not be seen.
//!
//! Exit: 0 written, 1 something is there already, 2 it cannot stand there, 3 it could not be written.
//!
//! - `findings`: what was found · `look`: the host · `write`: findings to text, pure

mod findings;
mod look;
mod write;

use std::path::{Path, PathBuf};

use super::out::Out;
use super::{Context, Exit, Failure};
use crate::base::chain;
use crate::config::{self, Options};
use crate::sys::files;
use look::Places;

/// Everybody may read it; it holds no secret.
const MODE: u32 = 0o644;

/// Looks at this host and writes a first configuration.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  sudo backstop init --output /etc/backstop/backstop.toml\n  \
                        backstop init --output - | less\n\n\
                        It looks at services of systemd, containers, and ports that listen on this host alone or on all its\n\
                        addresses. Ports are asked, with a second of patience each, for GET /health, /healthz, /-/healthy,\n\
                        /metrics and /; to those that are known not to speak HTTP, or that speak first, it only connects.\n\
                        Without root the owners of many ports cannot be seen, and the container engine may be closed.\n\n\
                        Exit codes: 0 written, 1 a file is there already, 2 it cannot stand there, 3 it could not be written.")]
pub struct Args {
    /// The file to write, which must not be there yet; `-` is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "backstop.toml")]
    output: PathBuf,
}

/// Looks, writes, and says what to do next.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let path = Some(args.output.as_path()).filter(|path| path.as_os_str() != "-");
    // Before anything is looked at: nobody shall wait for a refusal.
    path.map_or(Ok(()), can_stand)?;
    let options = Options { state: context.globals.state.clone(), ..Options::of_process() };
    let places = Places::of_host(options.host.clone());
    let findings = look::look(&places, &mut |part| Out::error(&format!("looking at {part}"))).await;
    let text = write::write(&findings);
    let summary = checked(&text, path.unwrap_or(Path::new("backstop.toml")), &options)?;
    write::said(&findings).iter().for_each(|line| Out::error(line));
    match path {
        None => context.out.text(&text),
        Some(path) => {
            files::create_new(path, text.as_bytes(), MODE).map_err(|error| match error.is_already_there() {
                true => is_there(path),
                false => Failure::unknown(chain(&error)),
            })?;
            Out::error(&format!("wrote {summary}\n{}", next(path)));
        }
    }
    Ok(Exit::Good)
}

/// What the configuration `text` holds, as `check` says it.
fn checked(text: &str, path: &Path, options: &Options) -> Result<String, Failure> {
    let loaded = config::load_text(path, text, options);
    match &loaded.config {
        Some(config) => Ok(config.summary()),
        None => Err(Failure {
            text: format!("nothing was written: what was made of this host cannot be loaded\n{}", loaded.render(false)),
            help: Some("this is a bug in backstop; `backstop check` says what a configuration looks like".into()),
            exit: Exit::Unknown,
        }),
    }
}

/// Whether a configuration may be written to `path`: nothing is there, and nobody else could exchange it.
fn can_stand(path: &Path) -> Result<(), Failure> {
    if files::exists(path) {
        return Err(is_there(path));
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(folder) = whole.parent().filter(|_| whole.file_name().is_some()) else {
        return Err(Failure::usage(format!("{} is no name of a file", path.display()), None));
    };
    if !folder.is_dir() {
        let help = format!("mkdir -p {}", folder.display());
        return Err(Failure::usage(format!("there is no folder {}", folder.display()), Some(help)));
    }
    match files::others_can_write(folder) {
        None => Ok(()),
        Some(why) => Err(Failure::usage(
            format!("others could exchange a configuration in {}: {why}", folder.display()),
            Some("what stands in it is run; choose a folder that only you or root may write: --output FILE".into()),
        )),
    }
}

fn is_there(path: &Path) -> Failure {
    let text = format!("{} is there already, and nothing is overwritten", path.display());
    let help = format!("to compare: backstop init --output - | diff {} -\nelsewhere: --output FILE", path.display());
    Failure { text, help: Some(help), exit: Exit::Bad }
}

/// What to do next; `--config` where the file is in none of the usual places.
fn next(path: &Path) -> String {
    let is_usual = [Path::new("backstop.toml"), Path::new("/etc/backstop/backstop.toml")].contains(&path);
    let config = if is_usual { String::new() } else { format!(" --config {}", path.display()) };
    format!("next: backstop check --probe{config} · backstop run{config}")
}

#[cfg(test)]
mod tests;
