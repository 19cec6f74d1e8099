# The record and the shared answers: PostgreSQL on a private address, no passwords, every minute of a week restorable.

resource "google_sql_database_instance" "tandem" {
  name                = "tandem"
  database_version    = "POSTGRES_17"
  region              = var.region
  deletion_protection = var.delete_protection

  settings {
    tier                        = var.sql_tier
    edition                     = "ENTERPRISE"
    availability_type           = var.sql_high_availability ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.sql_disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = var.sql_disk_gb * 10
    deletion_protection_enabled = var.delete_protection
    retain_backups_on_delete    = true
    connector_enforcement       = "REQUIRED" # only by the connector or the proxy: both sides known, all of it encrypted

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.tandem.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 30
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled  = true
      query_string_length     = 1024
      record_application_tags = false
      record_client_address   = false
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.sql_max_connections)
    }

    database_flags {
      name  = "idle_in_transaction_session_timeout"
      value = "60000" # milliseconds; a client that died in a transaction must not hold its locks
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # it grows by itself
  }

  depends_on = [google_service_networking_connection.services]
}

resource "google_sql_database" "tandem" {
  name     = "tandem"
  instance = google_sql_database_instance.tandem.name
}

# The service's account is also the one that migrates: the server makes partitions of the tables, day by day, and only
# a table's owner may. cloudsqlsuperuser is no superuser of PostgreSQL; it may make tables in this instance, which has
# no other database. What the role is called is not checked by Terraform but by Cloud SQL.
resource "google_sql_user" "run" {
  name           = "${google_service_account.run.account_id}@${var.project}.iam" # the account's address, shortened
  instance       = google_sql_database_instance.tandem.name
  type           = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles = ["cloudsqlsuperuser"]
}
