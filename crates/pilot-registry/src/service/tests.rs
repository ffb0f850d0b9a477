mod mailing;
mod model;
mod pushing;
mod registering;
mod searching;
mod seeing;
