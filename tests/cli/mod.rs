//! The command line as a person meets it.

mod colours;
mod command_line;
mod help;
mod init;
mod validate;
