//! The console.
pub mod completion;
pub mod editor;
mod history;
mod keys;
mod line;
mod text;
mod view;
