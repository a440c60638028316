mod fake;
mod life;
mod provider;
mod text;
