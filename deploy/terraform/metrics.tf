# What only the log tells, counted. The words are the server's own; a test holds them to its code.

locals {
  of_service = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"tandem\" AND resource.labels.location=\"${var.region}\""

  counted = {
    tandem_runs = {
      description = "Streams that were answered with 200, whatever became of them."
      filter      = "jsonPayload.logger=\"tandem.requests\" AND jsonPayload.http_status=200 AND jsonPayload.status:*"
    }
    tandem_failed_runs = {
      description = "Streams that were answered with 200 and ended without an answer: no status code tells of them."
      filter      = "jsonPayload.logger=\"tandem.requests\" AND jsonPayload.http_status=200 AND jsonPayload.status=\"error\""
    }
    tandem_audit_fallback = {
      description = "Records that went to the log instead of PostgreSQL; `tandem audit replay` reads them back."
      filter      = "jsonPayload.tandem_audit:* OR jsonPayload.message:\"entries go to the log, for `replay`\""
    }
    tandem_audit_held = {
      description = "Records that PostgreSQL does not take as things are: the schema does not fit, an entry is a dead letter, or there is no room."
      filter      = "jsonPayload.message:(\"the record is held until its tables are as they should be\" OR \"is a dead letter\" OR \"the audit is full\" OR \"the database cannot be migrated\")"
    }
    # The platform's own words, which it may change: compare them with what an instance that died has left in the log.
    tandem_restarts = {
      description = "Containers that ended by themselves, were killed for their memory, or failed their liveness probe."
      filter      = "logName:\"run.googleapis.com%2Fvarlog%2Fsystem\" AND severity>=WARNING AND textPayload:(\"Container called exit\" OR \"Uncaught signal\" OR \"Memory limit\" OR \"LIVENESS\")"
    }
  }
}

resource "google_logging_metric" "counted" {
  for_each = local.counted

  name        = each.key
  description = each.value.description
  filter      = "${local.of_service} AND (${each.value.filter})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.apis]
}

# As somebody who may call the service would find it. With min_instances = 0 it wakes an instance every minute.
resource "google_monitoring_uptime_check_config" "ready" {
  count = var.image == "" ? 0 : 1

  display_name = "tandem-ready"
  timeout      = "10s"
  period       = "60s"

  http_check {
    path         = "/health/ready"
    port         = 443
    use_ssl      = true
    validate_ssl = true

    service_agent_authentication {
      type = "OIDC_TOKEN"
    }
  }

  monitored_resource {
    type = "uptime_url"

    labels = {
      project_id = var.project
      host       = trimprefix(google_cloud_run_v2_service.tandem[0].uri, "https://")
    }
  }
}
