//! The answers to questions: PHP values to what the hub returns.

use std::net::SocketAddr;

use bytes::Bytes;
use lineman_wire::link::{ClientId, Reply};
use lineman_wire::php::{Array, Key, Value};

use crate::error::HubError;

/// A gateway's answer, and whose it is.
pub(super) struct GatewayReply {
    pub(super) gateway: SocketAddr,
    pub(super) reply: Reply,
}

impl GatewayReply {
    pub(super) fn value(&self) -> Result<Value, HubError> {
        let gateway = self.gateway;
        self.reply.value().map_err(|source| HubError::Reply { gateway, source })
    }

    pub(super) fn array(&self) -> Result<Array, HubError> {
        self.value()?.into_array().map_err(|_| self.unexpected("an array"))
    }

    pub(super) fn count(&self) -> Result<u64, HubError> {
        let count = self.value()?.as_int().and_then(|count| u64::try_from(count).ok());
        count.ok_or_else(|| self.unexpected("a number"))
    }

    /// Reads a list of connection ids.
    pub(super) fn client_ids(&self) -> Result<Vec<ClientId>, HubError> {
        self.array()?.values().map(|value| self.client_id(value.as_int())).collect()
    }

    /// Reads an array by connection id.
    pub(super) fn by_client(&self) -> Result<Vec<(ClientId, Value)>, HubError> {
        let entry = |(key, value): (Key, Value)| Ok((self.client_id(key.as_int())?, value));
        self.array()?.into_iter().map(entry).collect()
    }

    /// Reads the answer to a `Select` of one field, by connection id.
    pub(super) fn selected(&self, field: &str) -> Result<Vec<(ClientId, Value)>, HubError> {
        let value = |(client, fields): (ClientId, Value)| {
            let mut fields =
                fields.into_array().map_err(|_| self.unexpected("arrays of fields"))?;
            Ok((client, fields.remove(field).unwrap_or_default()))
        };
        self.by_client()?.into_iter().map(value).collect()
    }

    /// Reads a list of names; those that look like a number come as one.
    pub(super) fn names(&self) -> Result<Vec<String>, HubError> {
        self.array()?.values().map(|value| self.name(value)).collect()
    }

    pub(super) fn name(&self, value: &Value) -> Result<String, HubError> {
        match value {
            Value::Int(number) => Ok(number.to_string()),
            Value::String(text) => Ok(String::from_utf8_lossy(text).into_owned()),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) => {
                Err(self.unexpected("names"))
            }
        }
    }

    /// Reads a session that travels as a string within the answer.
    pub(super) fn session(&self, value: Value) -> Result<Bytes, HubError> {
        match value {
            Value::String(session) => Ok(session),
            Value::Null => Ok(Bytes::new()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Array(_) => {
                Err(self.unexpected("sessions"))
            }
        }
    }

    fn client_id(&self, number: Option<i64>) -> Result<ClientId, HubError> {
        let number = number.and_then(|number| u32::try_from(number).ok());
        let connection_id = number.ok_or_else(|| self.unexpected("connection ids"))?;
        match self.gateway {
            SocketAddr::V4(gateway) => {
                Ok(ClientId::new(*gateway.ip(), gateway.port(), connection_id))
            }
            SocketAddr::V6(_) => Err(self.unexpected("clients that an id can name")),
        }
    }

    fn unexpected(&self, expected: &'static str) -> HubError {
        HubError::UnexpectedReply { gateway: self.gateway, expected }
    }
}
