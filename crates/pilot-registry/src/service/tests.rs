mod model;
mod pushing;
mod registering;
mod seeing;
