//! `auth.login`, `auth.logout`.

use super::call_context::CallContext;
use crate::error::Error;
use crate::ops::login;
pub(super) use crate::ops::login::LoggedIn;
pub(super) use crate::ops::login::LoggedOut;
pub(super) use crate::ops::login::LoginRequest;
pub(super) use crate::ops::login::LogoutRequest;

/// `auth.login`
pub(super) async fn login(call: &CallContext, request: LoginRequest) -> Result<LoggedIn, Error> {
    login::login(call.app(), call.caller(), request)
}

/// `auth.logout`
pub(super) async fn logout(call: &CallContext, request: LogoutRequest) -> Result<LoggedOut, Error> {
    login::logout(call.app(), call.caller(), request)
}
