# Every alert has its heading in RUNBOOK.md: what it means, whom it hurts, what to look at, what to do.

locals {
  run     = "resource.type=\"cloud_run_revision\" AND resource.label.service_name=\"tandem\""
  sql     = "resource.type=\"cloudsql_database\" AND resource.label.database_id=\"${var.project}:tandem\""
  user    = "metric.type=\"logging.googleapis.com/user/"
  answers = "metric.type=\"run.googleapis.com/request_count\" AND ${local.run}"

  # One number above a threshold for some time. Names are those of RUNBOOK.md's headings.
  thresholds = merge({
    tandem-restarts = {
      says     = "A container died and was replaced; its streams ended without `done`, or were resumed elsewhere."
      filter   = "${local.user}tandem_restarts\" AND ${local.run}"
      aligner  = "ALIGN_DELTA", reducer = "REDUCE_SUM"
      above    = 0, lasting = "0s", every = "300s"
      severity = "ERROR"
    }
    tandem-audit-fallback = {
      says     = "Records went to the log instead of PostgreSQL. Nothing is lost while the log is kept; read them back."
      filter   = "${local.user}tandem_audit_fallback\" AND ${local.run}"
      aligner  = "ALIGN_DELTA", reducer = "REDUCE_SUM"
      above    = 0, lasting = "0s", every = "300s"
      severity = "ERROR"
    }
    tandem-audit-held = {
      says     = "PostgreSQL is there and does not take the records as they are."
      filter   = "${local.user}tandem_audit_held\" AND ${local.run}"
      aligner  = "ALIGN_DELTA", reducer = "REDUCE_SUM"
      above    = 0, lasting = "0s", every = "300s"
      severity = "CRITICAL"
    }
    # Cloud Run measures a request to its last byte, and does not tell streams from others: this is how long whole
    # answers take, not the first token.
    tandem-latency = {
      says     = "The slowest twentieth of the answers takes longer to its end than it should."
      filter   = "metric.type=\"run.googleapis.com/request_latencies\" AND ${local.run}"
      aligner  = "ALIGN_DELTA", reducer = "REDUCE_PERCENTILE_95"
      above    = var.latency_p95_s * 1000, lasting = "600s", every = "300s"
      severity = "WARNING"
    }
    tandem-sql-connections = {
      says     = "More than 80 % of PostgreSQL's connections are open."
      filter   = "metric.type=\"cloudsql.googleapis.com/database/postgresql/num_backends\" AND ${local.sql}"
      aligner  = "ALIGN_MAX", reducer = "REDUCE_SUM"
      above    = var.sql_max_connections * 0.8, lasting = "300s", every = "60s"
      severity = "ERROR"
    }
    tandem-sql-disk = {
      says     = "More than 80 % of the database's disk is in use, and it may not grow fast enough."
      filter   = "metric.type=\"cloudsql.googleapis.com/database/disk/utilization\" AND ${local.sql}"
      aligner  = "ALIGN_MAX", reducer = "REDUCE_MAX"
      above    = 0.8, lasting = "300s", every = "60s"
      severity = "ERROR"
    }
    tandem-sql-cpu = {
      says     = "The database has been more than 80 % busy for ten minutes."
      filter   = "metric.type=\"cloudsql.googleapis.com/database/cpu/utilization\" AND ${local.sql}"
      aligner  = "ALIGN_MEAN", reducer = "REDUCE_MAX"
      above    = 0.8, lasting = "600s", every = "60s"
      severity = "WARNING"
    }
    tandem-instances = {
      says     = "As many instances as there may be have run for ten minutes; more questions wait or are refused."
      filter   = "metric.type=\"run.googleapis.com/container/instance_count\" AND ${local.run}"
      aligner  = "ALIGN_MAX", reducer = "REDUCE_SUM"
      above    = var.max_instances - 0.5, lasting = "600s", every = "60s"
      severity = "ERROR"
    }
    }, var.redis ? {
    tandem-redis-memory = {
      says     = "More than 80 % of Redis' memory is in use; stored answers make room for each other."
      filter   = "metric.type=\"redis.googleapis.com/stats/memory/usage_ratio\" AND resource.type=\"redis_instance\" AND resource.label.instance_id=\"${google_redis_instance.tandem[0].id}\""
      aligner  = "ALIGN_MEAN", reducer = "REDUCE_MAX"
      above    = 0.8, lasting = "300s", every = "60s"
      severity = "WARNING"
    }
  } : {})
}

resource "google_monitoring_notification_channel" "emails" {
  for_each = var.alert_emails

  display_name = "Tandem: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "thresholds" {
  for_each = local.thresholds

  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [for channel in google_monitoring_notification_channel.emails : channel.id]

  conditions {
    display_name = each.key

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = each.value.lasting

      aggregations {
        alignment_period     = each.value.every
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    content = each.value.says

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#alert-${each.key}"
    }
  }

  depends_on = [google_logging_metric.counted]
}

resource "google_monitoring_alert_policy" "error_rate" {
  display_name          = "tandem-error-rate"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [for channel in google_monitoring_notification_channel.emails : channel.id]

  conditions {
    display_name = "more than 5 % of the answers are 5xx"

    condition_threshold {
      filter             = "${local.answers} AND metric.label.response_code_class=\"5xx\""
      denominator_filter = local.answers
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.05
      duration           = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }

      denominator_aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  conditions {
    display_name = "more than 5 % of the streams end without an answer"

    condition_threshold {
      filter             = "${local.user}tandem_failed_runs\" AND ${local.run}"
      denominator_filter = "${local.user}tandem_runs\" AND ${local.run}"
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.05
      duration           = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }

      denominator_aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "Questions fail: refused with a 5xx, or streamed to an end without an answer."

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#alert-tandem-error-rate"
    }
  }

  depends_on = [google_logging_metric.counted]
}

resource "google_monitoring_alert_policy" "unavailable" {
  count = var.image == "" ? 0 : 1

  display_name          = "tandem-unavailable"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [for channel in google_monitoring_notification_channel.emails : channel.id]

  conditions {
    display_name = "two places or more cannot reach /health/ready"

    condition_threshold {
      filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND resource.type=\"uptime_url\" AND metric.label.check_id=\"${google_monitoring_uptime_check_config.ready[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "120s"

      aggregations {
        alignment_period     = "120s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    content = "Nobody can ask anything: /health/ready does not answer with 200."

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#alert-tandem-unavailable"
    }
  }
}
