# What the service is told that does not belong into its description. Readable by its account alone, each by itself.

locals {
  # No host: CLOUDSQL_INSTANCE finds it. No password: the service's account is the user.
  database_url = "postgresql://${urlencode(google_sql_user.run.name)}@/${google_sql_database.tandem.name}"
  redis_url    = var.redis ? "redis://:${google_redis_instance.tandem[0].auth_string}@${google_redis_instance.tandem[0].host}:${google_redis_instance.tandem[0].port}/0" : ""
}

resource "google_secret_manager_secret" "database_url" {
  secret_id           = "tandem-database-url"
  deletion_protection = false # it can be made anew from what is here

  replication {
    auto {}
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "database_url" {
  secret      = google_secret_manager_secret.database_url.id
  secret_data = local.database_url
}

resource "google_secret_manager_secret" "redis_url" {
  count = var.redis ? 1 : 0

  secret_id           = "tandem-redis-url"
  deletion_protection = false

  replication {
    auto {}
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "redis_url" {
  count = var.redis ? 1 : 0

  secret      = google_secret_manager_secret.redis_url[0].id
  secret_data = local.redis_url
}
