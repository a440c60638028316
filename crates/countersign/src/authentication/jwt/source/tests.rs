mod fake;
mod garbage;
mod life;
mod provider;
mod text;
