# Answers and live runs that the instances share. Nothing here is the only copy of anything.
resource "google_redis_instance" "tandem" {
  count = var.redis ? 1 : 0

  name                    = "tandem"
  region                  = var.region
  tier                    = "STANDARD_HA"
  memory_size_gb          = var.redis_memory_gb
  redis_version           = "REDIS_7_2"
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  authorized_network      = google_compute_network.tandem.id
  auth_enabled            = true
  transit_encryption_mode = "DISABLED" # its certificate is signed by an authority of its own; the network is private

  redis_configs = {
    "maxmemory-policy" = "volatile-lru" # everything of ours has an end of its own; what was used last stays
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = "SUNDAY"

      start_time {
        hours   = 3
        minutes = 0
        seconds = 0
        nanos   = 0
      }
    }
  }

  depends_on = [google_service_networking_connection.services]
}
