//! The SDK's requests with their bodies counted.

use crate::storage::Progress;
use crate::storage::parts::count::{Counting, Sent};
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;

/// Counts a request's body while the network takes it.
#[derive(Debug)]
pub(super) struct CountBody {
    sent: Sent,
    /// Bytes of this attempt.
    moved: Progress,
}

impl CountBody {
    pub(super) fn new(sent: Sent, moved: Progress) -> Self {
        Self { sent, moved }
    }
}

impl Intercept for CountBody {
    fn name(&self) -> &'static str {
        "CountBody"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.request_mut().body_mut(), SdkBody::taken());
        let length = body.content_length().unwrap_or_default();
        let counting = Counting::new(body, length, self.sent.clone(), self.moved.clone());
        *context.request_mut().body_mut() = SdkBody::from_body_1_x(counting);
        Ok(())
    }
}
